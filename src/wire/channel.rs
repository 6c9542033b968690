//! How connections are set up: both ends take windows, frames, keepalive and message sizes from here.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Error, Server};

use super::pb;

/// Longest wait for a connection.
pub const CONNECT: Duration = Duration::from_secs(5);

/// HTTP/2 windows of a stream, in bytes: a few segments in flight. A connection has room for two such streams.
const WINDOW: u32 = 32 << 20;
/// HTTP/2 frames that a receiver accepts, in bytes.
const FRAME: u32 = 1 << 20;
/// Largest message that either side encodes or decodes, in bytes: a chunk and its envelope, or a welcome with many labels.
const MESSAGE: usize = 8 << 20;
/// How often a silent connection is probed, and how long the answer may take. A peer whose machine has failed is
/// detected within seconds.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(5);

/// A coordinator's address, to be connected to. Fails when `url` is no address.
pub fn endpoint(url: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT)
        // Small control messages must not wait for a full segment of TCP.
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_ANSWER)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

/// A server for connections of [`endpoint`].
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_frame_size(FRAME)
        .http2_keepalive_interval(Some(PROBE_EVERY))
        .http2_keepalive_timeout(Some(PROBE_ANSWER))
}

/// The control plane, as a worker sees it.
pub fn control_client(channel: Channel) -> pb::control_client::ControlClient<Channel> {
    let client = pb::control_client::ControlClient::new(channel);
    client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}

/// The bulk plane, as a worker sees it.
pub fn bulk_client(channel: Channel) -> pb::bulk_client::BulkClient<Channel> {
    let client = pb::bulk_client::BulkClient::new(channel);
    client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}

/// The client plane, as a person's program sees it.
pub fn jobs_client(channel: Channel) -> pb::jobs_client::JobsClient<Channel> {
    let client = pb::jobs_client::JobsClient::new(channel);
    client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}

/// The control plane of a coordinator.
pub fn control_server<T>(service: T) -> pb::control_server::ControlServer<T>
where
    T: pb::control_server::Control,
{
    let server = pb::control_server::ControlServer::new(service);
    server.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}

/// The bulk plane of a coordinator.
pub fn bulk_server<T: pb::bulk_server::Bulk>(service: T) -> pb::bulk_server::BulkServer<T> {
    let server = pb::bulk_server::BulkServer::new(service);
    server.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}

/// The client plane of a coordinator.
pub fn jobs_server<T: pb::jobs_server::Jobs>(service: T) -> pb::jobs_server::JobsServer<T> {
    let server = pb::jobs_server::JobsServer::new(service);
    server.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE)
}
