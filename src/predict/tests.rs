//! Models as their files describe them.
