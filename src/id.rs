//! Numbers with a meaning. Mixing two of them up does not compile.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $shown:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($shown, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One optimizer update, counted from 0: step `t` turns weights version `t` into `t + 1`.
    Step(u64), "step "
);
id!(
    /// Number of updates applied; version 0 is the checkpoint plus freshly initialised parameters.
    Version(u64), "version "
);
id!(
    /// A worker's membership of a run; a worker that comes back gets a new one.
    WorkerId(u64), "worker "
);
id!(
    /// One granting of one node to one worker. Never reused within a run.
    LeaseId(u64), "lease "
);
id!(
    /// Index of a fixed slice of the trainable vector.
    Segment(u32), "segment "
);
id!(
    /// Raised by one whenever another coordinator process takes the run over.
    CoordinatorEpoch(u64), "coordinator epoch "
);

impl Step {
    /// The weights version a step's gradients are computed from.
    pub fn version(self) -> Version {
        Version(self.0)
    }

    /// The step after this one.
    pub fn next(self) -> Step {
        Step(self.0 + 1)
    }
}
