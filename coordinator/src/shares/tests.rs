//! Plans against an oracle, against noise, and in words.

mod oracle;
mod perf;
mod simulation;
mod words;
