//! Plans against an oracle, against noise, and in words.

mod oracle;
mod simulation;
mod words;
