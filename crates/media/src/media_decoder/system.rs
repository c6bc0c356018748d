//! What the operating system does: a process's streams as files, its limits, and how it ended.

#[cfg(unix)]
pub(super) use unix::{file, is_out_of_time, limit, limit_time};
#[cfg(windows)]
pub(super) use windows::{file, is_out_of_time, limit, limit_time};

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::Result;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
    use rustix::time::{ClockId, clock_gettime};

    use crate::media_decoder::Limits;

    /// A standard stream, without a buffer.
    pub fn file(stream: impl AsFd) -> Result<File> {
        Ok(stream.as_fd().try_clone_to_owned()?.into())
    }

    /// Limits memory; no more files are opened, none is written, and no process is started.
    pub fn limit(limits: &Limits) -> Result<()> {
        // macOS has gigabytes of address space mapped from the start.
        if cfg!(not(target_vendor = "apple")) {
            set(Resource::As, limits.memory)?;
        }
        for nothing in [Resource::Nofile, Resource::Fsize, Resource::Core, Resource::Nproc] {
            set(nothing, 0)?;
        }
        Ok(())
    }

    fn set(resource: Resource, most: u64) -> Result<()> {
        let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| most.min(maximum)));
        Ok(setrlimit(resource, Rlimit { current: most, maximum: most })?)
    }

    /// Limits processor time from now on: the system counts all that a process has had.
    pub fn limit_time(limits: &Limits) -> Result<()> {
        let had = clock_gettime(ClockId::ProcessCPUTime).tv_sec as u64;
        let maximum = getrlimit(Resource::Cpu).maximum;
        // The second that has begun is its own.
        let most = had + 1 + limits.cpu;
        let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
        Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
    }

    /// Whether a process ended because its processor time was over.
    pub fn is_out_of_time(status: ExitStatus) -> bool {
        status.signal() == Some(Signal::XCPU.as_raw())
    }
}

/// Without limits: the parent's clock holds alone.
#[cfg(windows)]
mod windows {
    use std::fs::File;
    use std::io::Result;
    use std::os::windows::io::AsHandle;
    use std::process::ExitStatus;

    use crate::media_decoder::Limits;

    pub fn file(stream: impl AsHandle) -> Result<File> {
        Ok(stream.as_handle().try_clone_to_owned()?.into())
    }

    pub fn limit(_: &Limits) -> Result<()> {
        Ok(())
    }

    pub fn limit_time(_: &Limits) -> Result<()> {
        Ok(())
    }

    pub fn is_out_of_time(_: ExitStatus) -> bool {
        false
    }
}
