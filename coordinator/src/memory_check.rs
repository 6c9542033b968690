//! Whether this machine can hold a network's weights and the optimizer's state: known before any of it is allocated.

/// The weights are more than this machine can hold.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "config.json describes {elements} weights that train: with the optimizer's state they take {} GiB, but this machine \
     has {} GiB; is the configuration right?",
    needed >> 30,
    memory >> 30
)]
pub struct TooLarge {
    /// Trainable weights.
    pub elements: u64,
    /// Bytes of all that has to be held.
    pub needed: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// Refuses `elements` trainable weights, each with `state` numbers beside it, if `memory` bytes cannot hold them and,
/// as it passes through, the `largest` tensor.
pub fn check(elements: usize, largest: usize, state: usize, memory: u64) -> Result<(), TooLarge> {
    let elements = elements as u64;
    let needed = elements.saturating_mul(1 + state as u64).saturating_add(largest as u64).saturating_mul(4);
    if needed > memory { Err(TooLarge { elements, needed, memory }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_a_matter_of_all_state() {
        assert_eq!(check(100, 10, 2, 1240), Ok(()));
        assert_eq!(check(100, 10, 2, 1239), Err(TooLarge { elements: 100, needed: 1240, memory: 1239 }));
        assert_eq!(check(usize::MAX, 10, 2, u64::MAX), Ok(()), "no limit is none");
    }
}
