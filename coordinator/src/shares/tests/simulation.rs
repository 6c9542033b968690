//! Many steps with measured values that scatter.
