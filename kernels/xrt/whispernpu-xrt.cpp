// SPDX-License-Identifier: MPL-2.0
// XRT's C++ classes behind the C ABI of whispernpu-xrt.h, which tells the rules.

#include "whispernpu-xrt.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <xrt/experimental/xrt_kernel.h>
#include <xrt/experimental/xrt_system.h>
#include <xrt/experimental/xrt_version.h>
#include <xrt/experimental/xrt_xclbin.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_hw_context.h>
#include <xrt/xrt_kernel.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

// XRT's objects are counted references: a handle is one more of them on the heap.
struct wnpu_device {
    xrt::device device;
};

struct wnpu_xclbin {
    xrt::xclbin xclbin;
};

struct wnpu_context {
    xrt::hw_context context;
};

struct wnpu_kernel {
    xrt::kernel kernel;
};

struct wnpu_buffer {
    xrt::bo bo;
};

struct wnpu_batch {
    xrt::hw_context context;
    std::vector<xrt::run> runs;
    // Made at the start of a batch of more than one run.
    xrt::runlist list;
    bool started = false;
    // XRT ends the process when a run is destroyed that is still in progress.
    bool in_progress = false;
};

namespace {

// What the kernel of an overlay is told in its first argument: run the instruction stream.
constexpr std::uint64_t run_instructions = 3;

thread_local std::string error_text;
thread_local int error_code = 0;

int fail(int status, int code, const char *text) noexcept
{
    error_code = code;
    try {
        error_text = text;
    } catch (...) {
        error_text.clear();
    }
    return status;
}

int misuse(const char *text) noexcept
{
    return fail(WNPU_MISUSE, 0, text);
}

int command_error(ert_cmd_state state, const char *text) noexcept
{
    bool late = state == ERT_CMD_STATE_TIMEOUT || state == ERT_CMD_STATE_NORESPONSE;
    return fail(late ? WNPU_TIMEOUT : WNPU_COMMAND_ERROR, 0, text);
}

// Runs `work`, which returns a status, and turns whatever it throws into one.
template <typename Work>
int guarded(Work &&work) noexcept
{
    try {
        return work();
    } catch (const xrt::runlist::command_error &error) {
        return command_error(error.get_command_state(), error.what());
    } catch (const xrt::run::command_error &error) {
        return command_error(error.get_command_state(), error.what());
    } catch (const std::system_error &error) {
        return fail(WNPU_FAILED, error.code().value(), error.what());
    } catch (const std::exception &error) {
        return fail(WNPU_FAILED, 0, error.what());
    } catch (...) {
        return fail(WNPU_FAILED, 0, "an exception of unknown type");
    }
}

// Gives the caller a handle to what `make` returns.
template <typename Handle, typename Make>
int give(Handle **out, Make &&make) noexcept
{
    if (!out)
        return misuse("no place for the handle");
    *out = nullptr;
    return guarded([&] {
        *out = new Handle{make()};
        return WNPU_OK;
    });
}

// Drops a reference. XRT's destructors talk to the driver, and may throw when it is gone.
template <typename Handle>
void drop(Handle *handle) noexcept
{
    guarded([&] {
        delete handle;
        return WNPU_OK;
    });
}

// Waits for a batch that is in progress. Whatever it ended with, it has ended, unless this returns
// WNPU_TIMEOUT.
int finish(wnpu_batch &batch, std::chrono::milliseconds limit)
{
    bool timed_out = false;
    int status = guarded([&]() -> int {
        auto waited = batch.runs.size() == 1 ? batch.runs.front().wait2(limit) : batch.list.wait(limit);
        timed_out = waited == std::cv_status::timeout;
        return timed_out ? fail(WNPU_TIMEOUT, 0, "") : static_cast<int>(WNPU_OK);
    });
    // An error of the driver, as opposed to one of the command, leaves the command as it is.
    batch.in_progress = timed_out || status == WNPU_FAILED;
    return status;
}

// Batches that were given up while the NPU still had them. They are freed when it has let go of
// them, which the kernel's watchdog sees to; never at the end of the process, whose destructors
// would not wait for that.
struct abandoned {
    std::mutex mutex;
    std::vector<wnpu_batch *> batches;
};

abandoned &all_abandoned()
{
    static auto *all = new abandoned;
    return *all;
}

void abandon(wnpu_batch *batch) noexcept
{
    guarded([&] {
        std::lock_guard<std::mutex> lock{all_abandoned().mutex};
        all_abandoned().batches.push_back(batch);
        return WNPU_OK;
    });
}

void free_abandoned() noexcept
{
    guarded([] {
        std::lock_guard<std::mutex> lock{all_abandoned().mutex};
        auto &batches = all_abandoned().batches;
        auto done = [](wnpu_batch *batch) {
            finish(*batch, std::chrono::milliseconds{1});
            if (batch->in_progress)
                return false;
            drop(batch);
            return true;
        };
        batches.erase(std::remove_if(batches.begin(), batches.end(), done), batches.end());
        return WNPU_OK;
    });
}

// The NPU plug-in's sync flushes cache lines, which nothing fenced until July 2026 (xdna-driver pull
// request 1506): loads after it could still take stale lines.
void fence() noexcept
{
#if defined(__x86_64__)
    _mm_mfence();
#endif
}

int write(const std::string &text, char *out, size_t size)
{
    if (!out || size == 0)
        return misuse("no place for the text");
    std::snprintf(out, size, "%s", text.c_str());
    return WNPU_OK;
}

} // namespace

extern "C" {

uint32_t wnpu_abi(void)
{
    return WNPU_ABI;
}

const char *wnpu_error_text(void)
{
    return error_text.c_str();
}

int wnpu_error_code(void)
{
    return error_code;
}

int wnpu_xrt_version(uint32_t *major, uint32_t *minor)
{
    if (!major || !minor)
        return misuse("no place for the version");
    return guarded([&] {
        *major = xrt::version::major();
        *minor = xrt::version::minor();
        return WNPU_OK;
    });
}

int wnpu_device_count(uint32_t *count)
{
    if (!count)
        return misuse("no place for the number");
    return guarded([&] {
        *count = xrt::system::enumerate_devices();
        return WNPU_OK;
    });
}

int wnpu_device_open(uint32_t index, wnpu_device **device)
{
    return give(device, [&] { return xrt::device{index}; });
}

int wnpu_device_name(wnpu_device *device, char *text, size_t size)
{
    if (!device)
        return misuse("no device");
    return guarded([&] { return write(device->device.get_info<xrt::info::device::name>(), text, size); });
}

int wnpu_device_bdf(wnpu_device *device, char *text, size_t size)
{
    if (!device)
        return misuse("no device");
    return guarded([&] { return write(device->device.get_info<xrt::info::device::bdf>(), text, size); });
}

void wnpu_device_close(wnpu_device *device)
{
    drop(device);
}

int wnpu_xclbin_open(const char *path, wnpu_xclbin **xclbin)
{
    if (!path)
        return misuse("no path");
    return give(xclbin, [&] { return xrt::xclbin{std::string{path}}; });
}

int wnpu_xclbin_kernel(wnpu_xclbin *xclbin, char *text, size_t size)
{
    if (!xclbin)
        return misuse("no xclbin");
    return guarded([&] {
        auto kernels = xclbin->xclbin.get_kernels();
        if (kernels.empty())
            return fail(WNPU_FAILED, 0, "it holds no kernel");
        return write(kernels.front().get_name(), text, size);
    });
}

int wnpu_xclbin_register(wnpu_xclbin *xclbin, wnpu_device *device)
{
    if (!xclbin || !device)
        return misuse("no xclbin or no device");
    return guarded([&] {
        device->device.register_xclbin(xclbin->xclbin);
        return WNPU_OK;
    });
}

void wnpu_xclbin_close(wnpu_xclbin *xclbin)
{
    drop(xclbin);
}

int wnpu_context_open(wnpu_device *device, wnpu_xclbin *xclbin, wnpu_context **context)
{
    if (!device || !xclbin)
        return misuse("no device or no xclbin");
    return give(context, [&] { return xrt::hw_context{device->device, xclbin->xclbin.get_uuid()}; });
}

void wnpu_context_close(wnpu_context *context)
{
    drop(context);
}

int wnpu_kernel_open(wnpu_context *context, const char *name, wnpu_kernel **kernel)
{
    if (!context || !name)
        return misuse("no context or no name");
    return give(kernel, [&] { return xrt::kernel{context->context, std::string{name}}; });
}

void wnpu_kernel_close(wnpu_kernel *kernel)
{
    drop(kernel);
}

int wnpu_buffer_alloc(wnpu_device *device, wnpu_kernel *kernel, int kind, size_t bytes, wnpu_buffer **buffer)
{
    if (!device || !kernel || bytes == 0)
        return misuse("no device, no kernel or no size");
    bool data = kind == WNPU_DATA;
    // Where a buffer has to lie is a matter of the argument that it is for: 1 is the instruction
    // stream.
    auto flags = data ? xrt::bo::flags::host_only : xrt::bo::flags::cacheable;
    int argument = data ? WNPU_FIRST_DATA_ARGUMENT : 1;
    return give(buffer, [&] {
        auto group = static_cast<xrt::memory_group>(kernel->kernel.group_id(argument));
        return xrt::bo{device->device, bytes, flags, group};
    });
}

int wnpu_buffer_slice(wnpu_buffer *parent, size_t offset, size_t bytes, wnpu_buffer **buffer)
{
    if (!parent || bytes == 0)
        return misuse("no parent or no size");
    return give(buffer, [&] { return xrt::bo{parent->bo, bytes, offset}; });
}

int wnpu_buffer_map(wnpu_buffer *buffer, void **memory)
{
    if (!buffer || !memory)
        return misuse("no buffer or no place for the address");
    return guarded([&] {
        *memory = buffer->bo.map();
        return WNPU_OK;
    });
}

int wnpu_buffer_sync(wnpu_buffer *buffer, int direction, size_t offset, size_t bytes)
{
    if (!buffer)
        return misuse("no buffer");
    return guarded([&] {
        bool to_device = direction == WNPU_TO_DEVICE;
        buffer->bo.sync(to_device ? XCL_BO_SYNC_BO_TO_DEVICE : XCL_BO_SYNC_BO_FROM_DEVICE, bytes, offset);
        fence();
        return WNPU_OK;
    });
}

void wnpu_buffer_free(wnpu_buffer *buffer)
{
    drop(buffer);
}

int wnpu_batch_new(wnpu_context *context, wnpu_batch **batch)
{
    if (!context)
        return misuse("no context");
    free_abandoned();
    return give(batch, [&] { return wnpu_batch{context->context, {}, {}}; });
}

int wnpu_batch_add(wnpu_batch *batch, wnpu_kernel *kernel, wnpu_buffer *instructions, uint32_t words,
                   wnpu_buffer *const *data, size_t count)
{
    if (!batch || !kernel || !instructions || (count > 0 && !data))
        return misuse("no batch, kernel, instructions or data");
    if (batch->started)
        return misuse("the batch runs");
    return guarded([&] {
        xrt::run run{kernel->kernel};
        run.set_arg(0, run_instructions);
        run.set_arg(1, instructions->bo);
        run.set_arg(2, words);
        for (size_t index = 0; index < count; ++index)
            run.set_arg(static_cast<int>(WNPU_FIRST_DATA_ARGUMENT + index), data[index]->bo);
        batch->runs.push_back(std::move(run));
        return WNPU_OK;
    });
}

int wnpu_batch_start(wnpu_batch *batch)
{
    if (!batch || batch->runs.empty() || batch->started)
        return misuse("no batch, an empty one, or one that runs");
    return guarded([&] {
        batch->started = true;
        if (batch->runs.size() == 1) {
            batch->runs.front().start();
        } else {
            batch->list = xrt::runlist{batch->context};
            for (const auto &run : batch->runs)
                batch->list.add(run);
            batch->list.execute();
        }
        batch->in_progress = true;
        return WNPU_OK;
    });
}

int wnpu_batch_wait(wnpu_batch *batch, uint32_t milliseconds)
{
    if (!batch || !batch->started || milliseconds == 0)
        return misuse("no batch, one that does not run, or no limit");
    if (!batch->in_progress)
        return misuse("the batch has ended");
    return finish(*batch, std::chrono::milliseconds{milliseconds});
}

void wnpu_batch_free(wnpu_batch *batch)
{
    if (batch && batch->in_progress)
        abandon(batch);
    else
        drop(batch);
}

} // extern "C"
