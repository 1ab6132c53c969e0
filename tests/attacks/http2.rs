//! Attacks on HTTP/2: against a gateway that is a process of its own, which stays small, serves others meanwhile, and ends
//! the connection of whoever attacks it.

use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::frames::{
    ACK, CONTINUATION, Connection, DATA, END_HEADERS, END_STREAM, HEADERS, MAX_FRAME, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, fields, frame, request,
};
use crate::gateway_process::GatewayProcess;

/// KiB that an attack may take, of the hundreds of MiB it sends or has us imagine.
const MAX_GROWTH: u64 = 64 * 1024;
/// What an attack stops at, as a failure: nobody has ended it.
const MAX_FRAMES: u32 = 100_000;

/// RFC 9113, section 7.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Lets an attack run while others are served; then looks at what is left of it.
async fn attack<T>(attack: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let gateway = GatewayProcess::start("header_timeout = \"3s\"\nidle_timeout = \"3s\"\nrequest_timeout = \"5s\"");
    assert!(gateway.serves().await);
    let (memory, files) = (gateway.memory(), gateway.files());
    let mut peak = memory;
    let others = async {
        loop {
            assert!(gateway.serves().await, "somebody else is not served");
            peak = peak.max(gateway.memory());
        }
    };
    let outcome = tokio::select! {
        outcome = attack(gateway.address) => outcome,
        () = others => unreachable!("without end"),
    };
    assert!(gateway.serves().await, "nobody is served any more");
    peak = peak.max(gateway.memory());
    assert!(peak < memory + MAX_GROWTH, "from {memory} to {peak} KiB");
    // One or two may be of those who were served.
    let closed = async {
        while gateway.files() > files + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::frames::PATIENCE, closed).await.expect("connections stay open");
    outcome
}

/// A request whose answer waits for its body: that is read, and never ends.
fn unfinished(stream: u32) -> Vec<u8> {
    let head = request("POST", "/acme/backchannel-logout");
    let block = fields(&[&head[..], &[("content-type", b"application/x-www-form-urlencoded")]].concat());
    frame(HEADERS, END_HEADERS, stream, &block)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let said = attack(async |address| {
        let mut connection = Connection::open(address).await;
        let mut stream = 1;
        while connection.send(&[unfinished(stream), reset(stream)].concat()).await {
            stream += 2;
            assert!(stream < MAX_FRAMES, "nobody stops it");
        }
        connection.until_closed().await
    })
    .await;
    assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}");
}

#[tokio::test]
async fn resets_that_wait_until_the_work_has_begun_end_the_connection() {
    attack(async |address| {
        let mut connection = Connection::open(address).await;
        for round in 0.. {
            let stream = round * 2 + 1;
            assert!(round < 2000, "nobody stops it");
            let ping = frame(PING, 0, 0, &[7; 8]);
            if !connection.send(&[unfinished(stream), ping].concat()).await {
                break;
            }
            // What is begun is known once the ping comes back.
            let Some(_) = connection.next_of(&[PING]).await else { break };
            connection.send(&reset(stream)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn streams_that_we_must_reset_end_the_connection() {
    attack(async |address| {
        let mut connection = Connection::open(address).await;
        let mut stream = 1;
        // An increment of 0 is an error of the stream (section 6.9).
        while connection.send(&[unfinished(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()).await {
            stream += 2;
            assert!(stream < MAX_FRAMES, "nobody stops it");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_that_goes_on_without_end_ends_the_connection() {
    let full = frame(CONTINUATION, 0, 1, &fields(&[("x", &[b'y'; MAX_FRAME - 8])]));
    let small = frame(CONTINUATION, 0, 1, &fields(&[("x", b"y")]));
    let empty = frame(CONTINUATION, 0, 1, &[]);
    for (what, more) in [("full", full), ("small", small), ("empty", empty)] {
        attack(async |address| {
            let mut connection = Connection::open(address).await;
            connection.send(&frame(HEADERS, END_STREAM, 1, &fields(&request("GET", "/acme/session")))).await;
            let mut frames = 0;
            while connection.send(&more).await {
                frames += 1;
                assert!(frames < MAX_FRAMES, "{what}: nobody stops it");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_that_unpacks_into_megabytes_is_refused() {
    // A field of 4000 bytes that the table keeps (RFC 7541, section 6.2.1), and then a byte for each time it comes again.
    let mut block = fields(&request("GET", "/acme/session"));
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4000]);
    block.resize(MAX_FRAME, 0xbe);
    attack(async |address| {
        for _ in 0..10 {
            let mut connection = Connection::open(address).await;
            for stream in (1..100).step_by(2) {
                if !connection.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await {
                    break;
                }
                match connection.next_of(&[HEADERS, RST_STREAM]).await {
                    // `:status: 200`, or any that the static table knows but errors.
                    Some(answer) if answer.kind == HEADERS => assert!(!(0x88..=0x8b).contains(&answer.payload[0])),
                    Some(_) => {}
                    None => break,
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_frames_that_ask_for_nothing_ends_with_its_connection() {
    let kinds = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("answers to pings", frame(PING, ACK, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("no settings", frame(SETTINGS, 0, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("frames of no known kind", frame(0xfa, 0, 0, &[7; 64])),
    ];
    attack(async |address| {
        let floods = kinds.iter().flat_map(|(_, one)| [true, false].map(|listening| (one.repeat(100), listening)));
        let flood = |(bytes, listening): (Vec<u8>, bool)| async move {
            Connection::open(address).await.flood(&bytes, listening).await
        };
        join_all(floods.map(flood)).await;
    })
    .await;
}

#[tokio::test]
async fn the_same_floods_end_after_a_request_was_answered() {
    attack(async |address| {
        let flood = |bytes: Vec<u8>| async move {
            let mut connection = Connection::open(address).await;
            connection.get(1, "/acme/session").await;
            connection.next_of(&[DATA]).await.unwrap();
            connection.flood(&bytes, true).await
        };
        let kinds = [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])];
        join_all(kinds.map(|one| flood(one.repeat(100)))).await;
    })
    .await;
}

#[tokio::test]
async fn empty_parts_of_a_body_end_with_its_request() {
    attack(async |address| {
        let mut connection = Connection::open(address).await;
        connection.send(&unfinished(1)).await;
        connection.flood(&frame(DATA, 0, 1, &[]).repeat(100), true).await
    })
    .await;
}

#[tokio::test]
async fn a_hundred_requests_are_open_at_once_and_no_more() {
    for acknowledges in [true, false] {
        attack(async |address| {
            let mut connection = Connection::open(address).await;
            if acknowledges {
                connection.next_of(&[SETTINGS]).await.unwrap();
            }
            for number in 0..150 {
                connection.send(&unfinished(number * 2 + 1)).await;
            }
            let mut refused = 0;
            while refused < 50 {
                match connection.next_of(&[RST_STREAM, HEADERS]).await {
                    Some(frame) if frame.kind == RST_STREAM => {
                        assert_eq!(frame.error(), REFUSED_STREAM);
                        assert!(frame.stream > 200, "{frame:?}");
                        refused += 1;
                    }
                    Some(frame) => panic!("{acknowledges}: answered before the others were refused: {frame:?}"),
                    None => panic!("{acknowledges}: ended after {refused} were refused"),
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_window_that_stays_shut_ends_the_connection() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    attack(async |address| {
        let mut connection = Connection::open_with(address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        for number in 0..50 {
            connection.get(number * 2 + 1, "/").await;
        }
        connection.until_closed().await
    })
    .await;
}

#[tokio::test]
async fn a_window_that_opens_byte_by_byte_ends_the_connection_too() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    attack(async |address| {
        let mut connection = Connection::open_with(address, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        connection.get(1, "/").await;
        for _ in 0..600 {
            if !connection.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("nobody stops it");
    })
    .await;
}
