//! An application behind a proxy: a small answer and a large one.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;

const SMALL: usize = 1 << 10;
const LARGE: usize = 1 << 30;
const PIECE: usize = 64 << 10;

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(super) async fn run() {
    let small = json();
    super::serve(service_fn(move |request: Request<Incoming>| {
        let large = request.uri().path().ends_with("/gib");
        let answer =
            if large { gibibyte() } else { answer(Full::new(small.clone()).boxed(), "application/json", SMALL) };
        async { Ok::<_, Infallible>(answer) }
    }))
    .await;
}

fn answer(body: BoxBody<Bytes, Infallible>, media_type: &'static str, length: usize) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    answer
}

/// Exactly a kibibyte.
fn json() -> Bytes {
    let frame = serde_json::json!({ "text": "" }).to_string().len();
    serde_json::json!({ "text": "x".repeat(SMALL - frame) }).to_string().into()
}

fn gibibyte() -> Answer {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (0..LARGE / PIECE).map(move |_| Ok(Frame::data(piece.clone())));
    answer(BodyExt::boxed(StreamBody::new(stream::iter(pieces))), "application/octet-stream", LARGE)
}
