//! What a process says with its exit code. Scripts and Kubernetes rely on these numbers.

/// Exit codes of every Headstart program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// A defect of this program.
    Internal = 1,
    /// The command line or the run file is wrong.
    Usage = 2,
    /// The data cannot be used.
    Data = 10,
    /// Credentials are missing or do not suffice.
    Permission = 11,
    /// The checkpoint does not fit the task, is damaged, or is not what its run wrote.
    Checkpoint = 12,
    /// The coordinator does not answer.
    Unreachable = 20,
    /// Storage does not answer.
    Storage = 21,
    /// Another coordinator owns the run.
    Owned = 22,
    /// This machine would change the bits of a run that has begun.
    NumericClass = 23,
    /// Training diverged.
    Diverged = 30,
    /// Ended by Ctrl-C.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The exit code of this number.
    pub fn from_code(code: i32) -> Option<Exit> {
        use Exit::*;
        let all = [
            Ok,
            Internal,
            Usage,
            Data,
            Permission,
            Checkpoint,
            Unreachable,
            Storage,
            Owned,
            NumericClass,
            Diverged,
            Interrupted,
            Terminated,
        ];
        all.into_iter().find(|exit| *exit as i32 == code)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
