// SPDX-License-Identifier: MPL-2.0
//! Numbers and structures by which a process talks to Linux's driver `amdxdna`, as far as XRT uses
//! them.

/// Direct rendering's own request to let go of a buffer.
pub const GEM_CLOSE: u32 = 0x09;
/// The driver's requests begin here.
pub const FIRST_REQUEST: u32 = 0x40;

pub const CREATE_HWCTX: u32 = 0;
pub const DESTROY_HWCTX: u32 = 1;
pub const CONFIG_HWCTX: u32 = 2;
pub const CREATE_BO: u32 = 3;
pub const GET_BO_INFO: u32 = 4;
pub const SYNC_BO: u32 = 5;
pub const EXEC_CMD: u32 = 6;
pub const GET_INFO: u32 = 7;
pub const WAIT_CMD: u32 = 9;
pub const GET_ARRAY: u32 = 10;

pub const NAMES: [&str; 11] = [
    "create-hwctx",
    "destroy-hwctx",
    "config-hwctx",
    "create-bo",
    "get-bo-info",
    "sync-bo",
    "exec-cmd",
    "get-info",
    "set-state",
    "wait-cmd",
    "get-array",
];

/// No address on the device, and no doorbell.
pub const NO_ADDRESS: u64 = u64::MAX;

#[repr(C)]
pub struct CreateHwctx {
    pub ext: [u64; 2],
    pub qos: u64,
    pub queue_bo: u32,
    pub log_bo: u32,
    pub max_opc: u32,
    pub tiles: u32,
    pub mem_size: u32,
    pub doorbell: u32,
    pub handle: u32,
    pub syncobj: u32,
}

#[repr(C)]
pub struct DestroyHwctx {
    pub handle: u32,
    pub pad: u32,
}

/// Buffers of memory that both sides use; the device heap; a part of it; a command.
pub const BO_SHARE: u32 = 1;
pub const BO_HEAP: u32 = 2;
pub const BO_DEVICE: u32 = 3;
pub const BO_COMMAND: u32 = 4;

#[repr(C)]
pub struct CreateBo {
    pub flags: u64,
    pub user_memory: u64,
    pub size: u64,
    pub kind: u32,
    pub handle: u32,
}

#[repr(C)]
pub struct GetBoInfo {
    pub ext: [u64; 2],
    pub handle: u32,
    pub pad: u32,
    pub map_offset: u64,
    pub vaddr: u64,
    pub device_address: u64,
}

pub const SYNC_TO_DEVICE: u32 = 0;

#[repr(C)]
pub struct SyncBo {
    pub handle: u32,
    pub direction: u32,
    pub offset: u64,
    pub size: u64,
}

#[repr(C)]
pub struct ExecCmd {
    pub ext: [u64; 2],
    pub hwctx: u32,
    pub kind: u32,
    pub commands: u64,
    pub arguments: u64,
    pub command_count: u32,
    pub argument_count: u32,
    pub sequence: u64,
}

#[repr(C)]
pub struct WaitCmd {
    pub hwctx: u32,
    /// Milliseconds, 0 for ever.
    pub timeout: u32,
    pub sequence: u64,
}

pub const AIE_METADATA: u32 = 1;

#[repr(C)]
pub struct GetInfo {
    pub param: u32,
    pub size: u32,
    pub buffer: u64,
}

#[repr(C)]
pub struct GetArray {
    pub param: u32,
    pub element_size: u32,
    pub elements: u32,
    pub pad: u32,
    pub buffer: u64,
}

/// Tiles of one sort: rows, first row, DMA channels, locks, event registers.
#[repr(C)]
pub struct TileMetadata(pub [u16; 8]);

#[repr(C)]
pub struct AieMetadata {
    pub column_size: u32,
    pub columns: u16,
    pub rows: u16,
    pub version: [u32; 2],
    pub core: TileMetadata,
    pub memory: TileMetadata,
    pub shim: TileMetadata,
}

/// The array of an XDNA2: 8 columns of a shim tile, a memory tile and four cores.
pub const ARRAY: AieMetadata = AieMetadata {
    column_size: 1 << 25,
    columns: 8,
    rows: 6,
    version: [2, 0],
    core: TileMetadata([4, 2, 2, 16, 0, 0, 0, 0]),
    memory: TileMetadata([1, 1, 6, 64, 0, 0, 0, 0]),
    shim: TileMetadata([1, 0, 2, 16, 0, 0, 0, 0]),
};
