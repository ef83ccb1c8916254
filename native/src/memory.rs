//! The memory of the whole process.

/// Gives memory that is free back to the system, on a thread of its own; whether the C library can.
///
/// After a burst glibc keeps what was freed where something later still lives, tens of MiB: its threshold
/// (`M_TRIM_THRESHOLD`) is for the very end of the heap only.
pub fn trim() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let trim = || {
            glibc::malloc_trim(0);
        };
        std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(trim)
            .is_ok()
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
mod glibc {
    // SAFETY: the declaration is that of malloc.h. It takes any argument, and may be called by any thread at any
    // time (malloc_trim(3): MT-Safe).
    unsafe extern "C" {
        pub safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
}
