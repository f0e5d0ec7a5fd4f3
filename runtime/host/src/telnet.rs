//! The Telnet protocol (RFC 854), as far as a serial line needs it: both sides send binary data (RFC 856), the server echoes (RFC 857), and nobody
//! sends go-aheads (RFC 858). Other options are not negotiated, and what is said about them is skipped.

const IAC: u8 = 255;
const DO: u8 = 253;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const BINARY: u8 = 0;
const ECHO: u8 = 1;
const NO_GO_AHEAD: u8 = 3;

/// What a server says first: the client is to send each key at once, without showing it.
pub const GREETING: &[u8] = &[IAC, WILL, ECHO, IAC, WILL, NO_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY];

/// Bytes as they are sent.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| std::iter::repeat_n(*b, if *b == IAC { 2 } else { 1 })).collect()
}

/// Separates bytes from commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Decoder {
    /// Data.
    #[default]
    Data,
    /// Behind IAC.
    Command,
    /// Behind WILL, WON'T, DO, DON'T: an option.
    Option,
    /// Inside a subnegotiation.
    Sub,
    /// Behind IAC inside one.
    SubCommand,
}

impl Decoder {
    /// Takes received bytes; gives the data among them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        for &byte in bytes {
            *self = match (*self, byte) {
                (Decoder::Data, IAC) => Decoder::Command,
                (Decoder::Data, _) | (Decoder::Command, IAC) => {
                    data.push(byte);
                    Decoder::Data
                }
                (Decoder::Command, WILL..=254) => Decoder::Option,
                (Decoder::Command, SB) => Decoder::Sub,
                (Decoder::Sub, IAC) => Decoder::SubCommand,
                (Decoder::SubCommand, SE) | (Decoder::Option | Decoder::Command, _) => Decoder::Data,
                (Decoder::Sub | Decoder::SubCommand, _) => Decoder::Sub,
            };
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_out_wherever_the_stream_is_cut() {
        let sent = [b'a', IAC, DO, ECHO, b'b', IAC, IAC, IAC, SB, 24, IAC, IAC, b'x', IAC, SE, b'c', IAC, 241, b'd'];
        for cut in 0..sent.len() {
            let mut decoder = Decoder::default();
            let mut data = decoder.feed(&sent[..cut]);
            data.extend(decoder.feed(&sent[cut..]));
            assert_eq!(data, [b'a', b'b', IAC, b'c', b'd']);
        }
        assert_eq!(encode(&[1, IAC, 2]), [1, IAC, IAC, 2]);
        assert_eq!(Decoder::default().feed(&encode(&[IAC, DO])), [IAC, DO]);
    }
}
