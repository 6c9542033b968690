//! Plans against an oracle, against noise, and in words.

mod annealing;
mod oracle;
mod simulation;
mod words;
