//! Headstart: fine-tune pretrained networks on any number of machines, with bit-identical results.
//!
//! This crate is the contract that coordinator, worker and command line share. Read it top-down:
//!
//! | module | question it answers |
//! |---|---|
//! | [`run_file`] | What does the user want? A run file becomes a validated [`run_file::RunSpec`]. |
//! | [`job`] | Can it begin? Data, network and plan, checked before a worker starts. |
//! | [`store`] | Where is that? A URL becomes an object store and a path. |
//! | [`data`] | Which rows and labels are there? An index over files, and readers of single rows. |
//! | [`model`] | Which tensors does a network have, and how do they begin? |
//! | [`tokenizer`] | Which token ids is a text? |
//! | [`chat`] | Which text does a row of a conversation become, and which of its tokens are trained? |
//! | [`adapter`] | What trains beside a frozen network? Low-rank adapters, in and out, as PEFT lays them out. |
//! | [`checkpoint`] | Which values do they have? safetensors, in and out, as transformers lays them out. |
//! | [`network`] | All of that together: a network ready to be trained. |
//! | [`tokenising`] | How many tokens have a language model's rows, and which rows are left out? Planning's pass over them. |
//! | [`predict`] | Which model is in these files, and on which rows is it asked? What `headstart predict` hands a worker. |
//! | [`probe`] | How much does a checkpoint know of a task before it is trained on it? |
//! | [`draw`] | What is drawn at random? A pure function of what it is for. |
//! | [`plan`] | Which sample belongs to which step and shard? A pure function of the seed. |
//! | [`tree`] | In which order are sums added? The canonical reduction tree. |
//! | [`rounding`] | To which numbers are sums rounded, so that they travel in fewer bytes? |
//! | [`optimizer`] | What does a gradient do to the weights? The one update that coordinator and replicas make. |
//! | [`trainable`] | Which parameters train, how is each treated, and where do they sit in the flat vector and its segments? |
//! | [`manifest`] | How far is a run, and which objects hold that? An entry of its commit log. |
//! | [`message`] | What do coordinator and worker say to each other? |
//! | [`shared_memory`] | How do processes on one machine hand each other numbers without a socket? |
//! | [`wire`] | How does that cross the network? The only place that knows protobuf types. |
//! | [`client`] | How is a run going? Asks its coordinator. |
//! | [`mlflow`] | Where is an MLflow server, and how is it asked? |
//! | [`telemetry`] | What do programs say of themselves? Log lines, and spans for a collector. |
//! | [`svg`] | How is a chart drawn? Parts of pictures. |
//! | [`verify`] | Is what a run left behind still what it wrote? |
//! | [`hash`] | Hashes: of bytes, and of a trainable vector. |
//! | [`host`] | How much memory is there, on this machine or in its container? Which names have machines? |
//! | [`id`], [`exit`] | Numbers with a meaning: steps, versions, workers; exit codes. |

pub mod adapter;
pub mod chat;
pub mod checkpoint;
pub mod client;
pub mod data;
pub mod draw;
pub mod exit;
pub mod hash;
pub mod host;
pub mod id;
pub mod job;
pub mod manifest;
pub mod message;
pub mod mlflow;
pub mod model;
pub mod network;
pub mod optimizer;
pub mod plan;
pub mod predict;
pub mod probe;
pub mod rounding;
pub mod run_file;
pub mod shared_memory;
pub mod store;
pub mod svg;
pub mod telemetry;
pub mod tokenising;
pub mod tokenizer;
pub mod trainable;
pub mod tree;
pub mod verify;
pub mod wire;
