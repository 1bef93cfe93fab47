/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The bridge to AMD's XRT: the part of it that whispernpu needs for an NPU, as a C ABI.
 *
 * XRT's own C functions cannot drive an NPU: they know neither hardware contexts nor run lists. The
 * bridge is a shared object that the plugin loads at run time, so that the plugin works without XRT.
 *
 * Rules for all functions here:
 * - They return a status. `wnpu_error_text` and `wnpu_error_code` describe the last failure on the
 *   same thread, until the next one. No exception leaves a function.
 * - A handle is made by the function that takes a pointer to one, and released once by the function
 *   whose name ends in `_close` or `_free`, which takes NULL too. Handles may be released in any
 *   order: XRT keeps alive what one needs of another. A slice does not keep its parent's mapping, so
 *   the caller frees slices first.
 * - One thread at a time uses a handle. Buffers are an exception: several threads may sync one.
 * - Every wait has a limit.
 *
 * `crates/xdna/src/xrt/` is the only caller, and checks WNPU_ABI.
 */
#ifndef WHISPERNPU_XRT_H
#define WHISPERNPU_XRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WNPU_API __attribute__((visibility("default")))

/* Changes whenever a declaration below does. */
#define WNPU_ABI 1

enum wnpu_status {
    WNPU_OK = 0,
    /* XRT, the driver or the firmware said no: see the text. */
    WNPU_FAILED = 1,
    /* Not done within the limit. */
    WNPU_TIMEOUT = 2,
    /* The NPU took the work and reports that it went wrong. */
    WNPU_COMMAND_ERROR = 3,
    /* An argument that no caller should pass. */
    WNPU_MISUSE = 4,
};

enum wnpu_kind {
    /* Instruction streams: the device heap. */
    WNPU_INSTRUCTIONS = 0,
    /* Pages of this process. */
    WNPU_DATA = 1,
};

enum wnpu_direction {
    WNPU_TO_DEVICE = 0,
    WNPU_FROM_DEVICE = 1,
};

/* Index of the kernel's first data buffer; opcode, instructions and their number come before it. */
#define WNPU_FIRST_DATA_ARGUMENT 3

typedef struct wnpu_device wnpu_device;
typedef struct wnpu_xclbin wnpu_xclbin;
typedef struct wnpu_context wnpu_context;
typedef struct wnpu_kernel wnpu_kernel;
typedef struct wnpu_buffer wnpu_buffer;
typedef struct wnpu_batch wnpu_batch;

/* WNPU_ABI of the loaded bridge. */
WNPU_API uint32_t wnpu_abi(void);
/* What the last failure on this thread was, "" if none. Valid until the next failure on it. */
WNPU_API const char *wnpu_error_text(void);
/* Its errno, or 0 if it has none. */
WNPU_API int wnpu_error_code(void);
/* Version of the XRT library that is loaded. */
WNPU_API int wnpu_xrt_version(uint32_t *major, uint32_t *minor);

/* Devices that XRT knows, and one of them. */
WNPU_API int wnpu_device_count(uint32_t *count);
WNPU_API int wnpu_device_open(uint32_t index, wnpu_device **device);
/* Both write a C string, cut to `size` bytes: "RyzenAI-npu4"; the PCI address "0000:c5:00.1". */
WNPU_API int wnpu_device_name(wnpu_device *device, char *text, size_t size);
WNPU_API int wnpu_device_bdf(wnpu_device *device, char *text, size_t size);
WNPU_API void wnpu_device_close(wnpu_device *device);

/* An overlay's file, the name of its first kernel, and its registration with a device. */
WNPU_API int wnpu_xclbin_open(const char *path, wnpu_xclbin **xclbin);
WNPU_API int wnpu_xclbin_kernel(wnpu_xclbin *xclbin, char *text, size_t size);
WNPU_API int wnpu_xclbin_register(wnpu_xclbin *xclbin, wnpu_device *device);
WNPU_API void wnpu_xclbin_close(wnpu_xclbin *xclbin);

/* Columns of the NPU that run the registered overlay, and its kernel there. */
WNPU_API int wnpu_context_open(wnpu_device *device, wnpu_xclbin *xclbin, wnpu_context **context);
WNPU_API void wnpu_context_close(wnpu_context *context);
WNPU_API int wnpu_kernel_open(wnpu_context *context, const char *name, wnpu_kernel **kernel);
WNPU_API void wnpu_kernel_close(wnpu_kernel *kernel);

/* Memory for a kernel's argument, mapped. `kind` is one of wnpu_kind, `bytes` is not 0. */
WNPU_API int wnpu_buffer_alloc(wnpu_device *device, wnpu_kernel *kernel, int kind, size_t bytes, wnpu_buffer **buffer);
/* A buffer of `bytes` of `parent` from `offset` on. */
WNPU_API int wnpu_buffer_slice(wnpu_buffer *parent, size_t offset, size_t bytes, wnpu_buffer **buffer);
/* Where the host sees it, until the buffer is freed. */
WNPU_API int wnpu_buffer_map(wnpu_buffer *buffer, void **memory);
/* Lets the other side see `bytes` from `offset` on. `direction` is one of wnpu_direction. */
WNPU_API int wnpu_buffer_sync(wnpu_buffer *buffer, int direction, size_t offset, size_t bytes);
WNPU_API void wnpu_buffer_free(wnpu_buffer *buffer);

/* Runs of a kernel, one after another, in one submission: a single command, or a run list. */
WNPU_API int wnpu_batch_new(wnpu_context *context, wnpu_batch **batch);
/* Adds a run of `words` instruction words on `count` buffers. Not once the batch was started. */
WNPU_API int wnpu_batch_add(wnpu_batch *batch, wnpu_kernel *kernel, wnpu_buffer *instructions, uint32_t words,
                            wnpu_buffer *const *data, size_t count);
WNPU_API int wnpu_batch_start(wnpu_batch *batch);
/* WNPU_OK when all is done; WNPU_TIMEOUT after `milliseconds`, which are not 0. May be called again
 * after that. */
WNPU_API int wnpu_batch_wait(wnpu_batch *batch, uint32_t milliseconds);
/* A batch that still runs is kept, with all that it uses, until the NPU has let go of it. */
WNPU_API void wnpu_batch_free(wnpu_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
