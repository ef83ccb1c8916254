//! CONNECTION_CLOSE frames (RFC 9000 section 19.19) in decrypted packets.
//!
//! quinn's `close()` only sends application closes, of type 0x1d. When a certificate is refused, the peer
//! must see a TLS alert (CRYPTO_ERROR 0x12a and a reason, RFC 9001 section 4.8), of type 0x1c:
//!
//! ```text
//! 1d | 41 2a | length     | MARK | reason       as quinn writes it for close(0x12a, MARK + reason)
//! 1c | 41 2a | 00 (frame) | length - 1 | reason as it is sent; the same number of bytes
//! ```

/// TLS alert bad_certificate as a QUIC error code.
pub const BAD_CERTIFICATE: u32 = 0x12a;
/// Precedes the reason of a refusal; its byte makes room for the frame type.
pub const MARK: u8 = 0;

/// A CONNECTION_CLOSE frame.
#[derive(Debug, PartialEq)]
pub struct CloseFrame {
    /// Whether `code` is the application's, not the transport's.
    pub application: bool,
    pub code: u64,
    pub reason: Vec<u8>,
}

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const ACK_ECN: u8 = 0x03;
const TRANSPORT_CLOSE: u8 = 0x1c;
const APPLICATION_CLOSE: u8 = 0x1d;
/// `BAD_CERTIFICATE` as a varint.
const CODE: [u8; 2] = [0x41, 0x2a];

/// Turns the marked application close among the frames of a packet into a transport close. Packets
/// without one are left unchanged.
pub fn refuse(frames: &mut [u8]) {
    let Some(close) = find_close(frames) else {
        return;
    };
    let close = &mut frames[close..];
    let Some(length_size) = close.get(3).map(|&first| varint_size(first)) else {
        return;
    };
    let mark = 3 + length_size;
    if close[0] != APPLICATION_CLOSE || close[1..3] != CODE || close.get(mark) != Some(&MARK) {
        return;
    }
    close[0] = TRANSPORT_CLOSE;
    close.copy_within(3..mark, 4);
    // The frame type that caused the error: none.
    close[3] = 0;
    // Decrements the length, which is not 0; the upper two bits are the size of the varint.
    for octet in close[4..4 + length_size].iter_mut().rev() {
        let (less, borrow) = octet.overflowing_sub(1);
        *octet = less;
        if !borrow {
            break;
        }
    }
}

/// The close among the frames of a packet.
pub fn read_close(frames: &[u8]) -> Option<CloseFrame> {
    let frame = &frames[find_close(frames)?..];
    let application = frame[0] == APPLICATION_CLOSE;
    let mut at = 1;
    let mut varint = || {
        let (value, size) = read_varint(frame.get(at..)?)?;
        at += size;
        Some(value)
    };
    let code = varint()?;
    if !application {
        let _frame_type = varint()?;
    }
    let length = usize::try_from(varint()?).ok()?;
    let reason = frame.get(at..at.checked_add(length)?)?.to_vec();
    Some(CloseFrame {
        application,
        code,
        reason,
    })
}

/// The offset of the close; only acknowledgements, padding and pings may precede it.
fn find_close(frames: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *frames.get(at)? {
            APPLICATION_CLOSE | TRANSPORT_CLOSE => return Some(at),
            PADDING | PING => at += 1,
            kind @ (ACK | ACK_ECN) => {
                at += 1;
                let mut varint = || {
                    let (value, size) = read_varint(frames.get(at..)?)?;
                    at += size;
                    Some(value)
                };
                let (_largest, _delay) = (varint()?, varint()?);
                let ranges = varint()?;
                let ecn_counts = if kind == ACK_ECN { 3 } else { 0 };
                // The first range, then a gap and a length each.
                for _ in 0..1 + 2 * ranges + ecn_counts {
                    varint()?;
                }
            }
            _ => return None,
        }
    }
}

fn varint_size(first: u8) -> usize {
    1 << (first >> 6)
}

/// A QUIC varint (RFC 9000 section 16) and its size in bytes.
fn read_varint(input: &[u8]) -> Option<(u64, usize)> {
    let size = varint_size(*input.first()?);
    let octets = input.get(..size)?;
    let first = u64::from(octets[0] & 0x3f);
    let value = octets[1..]
        .iter()
        .fold(first, |value, &octet| value << 8 | u64::from(octet));
    Some((value, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(length: &[u8], reason: &[u8]) -> Vec<u8> {
        [&[APPLICATION_CLOSE, 0x41, 0x2a], length, &[MARK], reason].concat()
    }

    #[test]
    fn a_marked_close_becomes_a_transport_close() {
        let mut frames = close(&[6], b"no way");
        frames[3] = 7;
        refuse(&mut frames);
        assert_eq!(frames, [&[0x1c, 0x41, 0x2a, 0, 6][..], b"no way"].concat());
    }

    #[test]
    fn the_length_may_take_two_bytes() {
        for (before, after) in [([0x40, 0x40], [0x40, 0x3f]), ([0x41, 0x00], [0x40, 0xff])] {
            let reason = vec![b'x'; 255];
            let mut frames = close(&before, &reason);
            refuse(&mut frames);
            assert_eq!(frames[..6], [0x1c, 0x41, 0x2a, 0, after[0], after[1]]);
            assert_eq!(frames[6..], reason);
        }
    }

    #[test]
    fn acknowledgements_before_it_are_skipped() {
        // Largest 0x1d2a, delay 1, two ranges; the second one with ECN counts.
        let ack = [ACK, 0x5d, 0x2a, 1, 2, 0x1d, 1, 2, 3, 4];
        let ack_ecn = [ACK_ECN, 9, 1, 0, 5, 0x1d, 0x41, 0x2a];
        let mut frames = [&ack[..], &ack_ecn, &[PADDING, PING], &close(&[3], b"no")].concat();
        refuse(&mut frames);
        assert_eq!(frames[..18], [&ack[..], &ack_ecn].concat());
        assert_eq!(
            frames[20..],
            [&[0x1c, 0x41, 0x2a, 0, 2][..], b"no"].concat()
        );
    }

    #[test]
    fn closes_are_read() {
        let ack = [ACK, 0x5d, 0x2a, 1, 2, 0x1d, 1, 2, 3, 4];
        let application = [&ack[..], &[APPLICATION_CLOSE, 7, 2], b"no, more"].concat();
        let read = CloseFrame {
            application: true,
            code: 7,
            reason: b"no".to_vec(),
        };
        assert_eq!(read_close(&application), Some(read));
        let transport = [TRANSPORT_CLOSE, 0x41, 0x2a, 0x06, 1, b'x'];
        let read = CloseFrame {
            application: false,
            code: 0x12a,
            reason: b"x".to_vec(),
        };
        assert_eq!(read_close(&transport), Some(read));
        for length in 0..transport.len() {
            assert_eq!(read_close(&transport[..length]), None);
        }
        assert_eq!(read_close(&[0x08, 0, APPLICATION_CLOSE, 0, 0]), None);
        let endless = [&[APPLICATION_CLOSE, 0][..], &[0xff; 8]].concat();
        assert_eq!(read_close(&endless), None);
    }

    #[test]
    fn other_packets_stay_as_they_are() {
        let others: [&[u8]; 7] = [
            &[],
            &[0x08, 0, 1, 2, APPLICATION_CLOSE, 0x41, 0x2a, 1, MARK],
            &[APPLICATION_CLOSE, 0x41, 0x2b, 1, MARK],
            &[APPLICATION_CLOSE, 0x41, 0x2a, 1, b'x'],
            &[APPLICATION_CLOSE, 0x41],
            &[APPLICATION_CLOSE, 0x41, 0x2a],
            &[ACK, 1, 2, 0xff],
        ];
        for other in others {
            let mut frames = other.to_vec();
            refuse(&mut frames);
            assert_eq!(frames, other);
        }
    }

    /// `RUNS=10000000 cargo test --release random_frames` for more of them.
    #[test]
    fn random_frames_are_read_without_a_panic() {
        let runs = std::env::var("RUNS").map_or(200_000, |runs| runs.parse().unwrap());
        // Frame types, sizes of varints and what is right after them, more often than chance has them.
        const LIKELY: [u8; 14] = [
            PADDING,
            PING,
            ACK,
            ACK_ECN,
            TRANSPORT_CLOSE,
            APPLICATION_CLOSE,
            0x41,
            0x2a,
            MARK,
            0x3f,
            0x40,
            0x80,
            0xc0,
            0xff,
        ];
        // xorshift64 (Marsaglia): the same frames each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let (mut closes, mut refusals) = (0, 0);
        for _ in 0..runs {
            let mut frames: Vec<u8> = (0..random() % 32)
                .map(|_| match random() {
                    byte if byte % 4 == 0 => (byte >> 8) as u8,
                    index => LIKELY[(index >> 8) % LIKELY.len()],
                })
                .collect();
            if random() % 4 == 0 {
                let at = random() % (frames.len() + 1);
                frames.splice(at..at, [APPLICATION_CLOSE, CODE[0], CODE[1]]);
            }
            let before = frames.clone();
            let close = read_close(&frames);
            closes += usize::from(close.is_some());
            refuse(&mut frames);
            let start = find_close(&before).unwrap_or(before.len());
            assert_eq!(frames[..start], before[..start]);
            if frames == before {
                continue;
            }
            // With a length, the marked close says the same as a transport close, without its mark.
            let Some(marked) = close.filter(|close| !close.reason.is_empty()) else {
                continue;
            };
            let refused = CloseFrame {
                application: false,
                code: u64::from(BAD_CERTIFICATE),
                reason: marked.reason[1..].to_vec(),
            };
            assert_eq!(read_close(&frames), Some(refused), "{before:02x?}");
            refusals += 1;
        }
        assert!(
            closes > runs / 100 && refusals > runs / 10_000,
            "{closes} closes, {refusals} refusals"
        );
    }
}
