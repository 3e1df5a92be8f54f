//! A client of gRPC: HTTP/2 by hyper, messages by their fields.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use millstream_untrusted::protobuf::{Message, Wire, fields};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::PATIENCE;

pub struct GrpcClient {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

/// What became of a call.
#[derive(Debug)]
pub struct Called {
    pub code: String,
    pub message: String,
    pub head: HeaderMap,
    /// The message that was answered; empty where there is none.
    pub answer: Vec<u8>,
}

impl GrpcClient {
    pub fn connect(address: &str) -> Self {
        Self::connect_by(address, async |stream| stream)
    }

    /// By what is made of the connection.
    pub fn connect_by<S, F>(address: &str, wrap: F) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: AsyncFnOnce(TcpStream) -> S,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = wrap(TcpStream::connect(address).await.unwrap()).await;
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender, address: address.to_owned() }
    }

    pub fn call(&mut self, method: &str, headers: &[(&str, &str)], message: Message) -> Called {
        let message = message.into_bytes();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut request = Request::post(format!("http://{}/inference.GRPCInferenceService/{method}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from([&[0], &length[..], &message].concat())).unwrap();
        let sender = &mut self.sender;
        let asked = async {
            sender.ready().await.unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            (head, body.collect().await.unwrap())
        };
        let (head, body) = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await.unwrap() });
        assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (200, &"application/grpc".parse().unwrap()));
        let ends =
            body.trailers().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(&head.headers).clone();
        let text = |name: &str| ends.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let message = percent_encoding::percent_decode_str(&text("grpc-message")).decode_utf8().unwrap().into_owned();
        let answer = body.to_bytes().get(5..).unwrap_or_default().to_vec();
        Called { code: text("grpc-status"), message, head: head.headers, answer }
    }
}

/// All values of a field, each of which is a text, bytes or a message.
pub fn parts(message: &[u8], number: u32) -> Vec<&[u8]> {
    let part = |(_, wire)| match wire {
        Wire::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    fields(message).map(Result::unwrap).filter(|(found, _)| *found == number).map(part).collect()
}

/// A message that names a model and a version in its first two fields.
pub fn named(model: &str, version: &str) -> Message {
    let mut message = Message::default();
    message.text(1, model);
    message.text(2, version);
    message
}
