//! Where computations that take long run: on threads of their own, never on those that move messages.

use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// Threads, one per core.
    #[default]
    Threads,
    /// The caller, at once: for simulations, in which everything has one order.
    Inline,
}

impl Pool {
    /// Runs a computation, and waits for what it returns.
    pub async fn run<T: Send + 'static>(self, compute: impl FnOnce() -> T + Send + 'static) -> T {
        if self == Pool::Inline {
            return compute();
        }
        let (done, outcome) = oneshot::channel();
        rayon::spawn(move || {
            // Whoever asked may be gone.
            let _ = done.send(compute());
        });
        outcome.await.expect("the compute pool runs every job it is given")
    }

    /// Number of computations that run concurrently.
    pub fn width(self) -> usize {
        match self {
            Pool::Threads => rayon::current_num_threads(),
            Pool::Inline => 1,
        }
    }
}
