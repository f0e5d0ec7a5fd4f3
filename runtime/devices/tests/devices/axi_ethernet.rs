//! `xlnx,axi-ethernet` (DS759, PG138) on the streams of a DMA: frames both ways, filters, checksums, VLAN tags, statistics.

use crate::axi_dma::{COMPLETE, FIRST, LAST, MM2S, S2MM, TAILDESC, dma};
use crate::bench::Bench;
use emu_machine::schema::Value;

const RAF: u64 = 0;
const TPF: u64 = 4;
const IS: u64 = 0xc;
const IE: u64 = 0x14;
const TTAG: u64 = 0x18;
const RTAG: u64 = 0x1c;
const UAWL: u64 = 0x20;
const TPID0: u64 = 0x28;
const STATISTICS: u64 = 0x200;
const RCW1: u64 = 0x404;
const TC: u64 = 0x408;
const MC: u64 = 0x500;
const MCR: u64 = 0x504;
const MWD: u64 = 0x508;
const MRD: u64 = 0x50c;
const FMI: u64 = 0x708;
const FFE: u64 = 0x70c;
const AF0: u64 = 0x710;
const AF1: u64 = 0x714;
const TX_VLAN: u64 = 0x4000;
const RX_VLAN: u64 = 0x8000;
const MULTICAST: u64 = 0x2_0000;

const REJECT: u32 = 8;
const OVERRUN: u32 = 0x10;
const RX_COMPLETE: u32 = 4;
const TX_COMPLETE: u32 = 0x20;

const OWN: [u8; 6] = [0, 0x0a, 0x35, 0, 0x22, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 1];

const TX_RING: u32 = 0x1000;
const RX_RING: u32 = 0x2000;
const RING: u32 = 16;

/// A MAC with a DMA whose receive ring is full of buffers.
fn mac(given: &[(&str, Value)]) -> Mac {
    let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
    let mut d = dma(&[("length-width", Value::Int(16))], "xlnx,axi-ethernet", &given);
    for i in 0..RING {
        d.descriptor(RX_RING + 0x40 * i, RX_RING + 0x40 * ((i + 1) % RING), 0x4000 + 0x800 * i, 0x800);
    }
    d.run_to(S2MM, RX_RING, RX_RING + 0x40 * (RING - 1));
    Mac { d, tx: 0, rx: 0 }
}

struct Mac {
    d: Bench,
    tx: u32,
    rx: u32,
}

impl Mac {
    fn read(&mut self, at: u64) -> u32 {
        let value = self.d.bench.part(0, 0).read(at).unwrap() as u32;
        self.d.bench.hear();
        value
    }

    fn write(&mut self, at: u64, value: u32) {
        self.d.bench.part(0, 0).write(at, value.into()).unwrap();
        self.d.bench.hear();
    }

    /// Sends a frame with these control words; what came out.
    fn send_with(&mut self, bytes: &[u8], words: [u32; 3]) -> Vec<Vec<u8>> {
        let at = TX_RING + 0x40 * self.tx;
        self.d.bench.memory()[0xc800..0xc800 + bytes.len()].copy_from_slice(bytes);
        self.d.descriptor(at, at + 0x40, 0xc800, FIRST | LAST | bytes.len() as u32);
        self.d.poke(at + 0x20, &words);
        if self.tx == 0 {
            self.d.run_to(MM2S, at, at);
        } else {
            self.d.write(TAILDESC, at);
        }
        self.tx += 1;
        self.d.bench.part(0, 0).transmitted()
    }

    fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send_with(bytes, [0; 3]).pop().unwrap_or_default()
    }

    /// Lets a frame come; its bytes and status words, if it was received.
    fn receive(&mut self, bytes: &[u8]) -> Option<(Vec<u8>, [u32; 5])> {
        self.d.bench.part(0, 0).frame(bytes);
        self.d.bench.hear();
        let at = RX_RING + 0x40 * self.rx;
        let status = self.d.status(at);
        if status == 0 {
            return None;
        }
        assert_eq!(status & !0xffff, COMPLETE | FIRST | LAST);
        let from = 0x4000 + 0x800 * self.rx as usize;
        self.rx += 1;
        let words = [0, 1, 2, 3, 4].map(|i| self.d.peek(at + 0x20 + 4 * i));
        assert_eq!(words[4] & 0xffff, status & 0xffff, "the length");
        Some((self.d.bench.memory()[from..from + (status & 0xffff) as usize].to_vec(), words))
    }
}

fn frame(to: [u8; 6], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut all = to.to_vec();
    all.extend(PEER);
    all.extend(kind.to_be_bytes());
    all.extend(data);
    all
}

/// A UDP datagram of a peer, with good checksums.
fn datagram() -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
    let mut udp = vec![0x04, 0xd2, 0x16, 0x2e, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let header = !sum(&ip, 0);
    ip[10..12].copy_from_slice(&header.to_be_bytes());
    let pseudo = sum(&[&ip[12..20], &[0, 17, 0, 20]].concat(), 0);
    let check = !sum(&udp, pseudo);
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    frame(OWN, 0x0800, &[ip, udp].concat())
}

fn sum(bytes: &[u8], seed: u16) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| (*b).into()));
    let mut all = words.sum::<u32>() + u32::from(seed);
    while all >> 16 != 0 {
        all = (all & 0xffff) + (all >> 16);
    }
    all as u16
}

#[test]
fn frames_go_both_ways() {
    let mut m = mac(&[]);
    assert_eq!(m.read(IS), 0x1c0);
    m.write(IE, TX_COMPLETE | RX_COMPLETE);
    let sent = frame(PEER, 0x88b5, &[7; 100]);
    assert_eq!(m.send(&sent), sent);
    assert_eq!((m.read(IS), m.read(0x10)), (0x1c0 | TX_COMPLETE, TX_COMPLETE));
    assert!(m.d.bench.part(0, 0).line(0, 0));
    m.write(IS, TX_COMPLETE);
    assert!(!m.d.bench.part(0, 0).line(0, 0));
    assert_eq!(m.send(&frame(PEER, 0x88b5, &[7])).len(), 60, "padded");
    let came = frame(OWN, 0x88b5, &[9; 100]);
    let (bytes, words) = m.receive(&came).unwrap();
    assert_eq!((bytes, words), (came, [0, 0, 0, 0x88b5_0000, 114]));
    assert_eq!(m.read(IS) & RX_COMPLETE, RX_COMPLETE);
    // With their FCS; padding is left, and goes without.
    m.write(RCW1, 0x3000_0000);
    assert_eq!(m.receive(&frame(OWN, 5, &[1, 2, 3, 4, 5])).unwrap().0.len(), 64);
    m.write(RCW1, 0x1000_0000);
    assert_eq!(m.receive(&frame(OWN, 5, &[1, 2, 3, 4, 5])).unwrap().0, frame(OWN, 5, &[1, 2, 3, 4, 5]));
    // A length that is not so.
    assert_eq!(m.receive(&frame(OWN, 200, &[0; 100])), None);
    assert_eq!(m.read(IS) & REJECT, REJECT);
    m.write(RCW1, 0x1200_0000);
    assert!(m.receive(&frame(OWN, 200, &[0; 100])).is_some());
}

#[test]
fn lengths_have_limits() {
    let mut m = mac(&[]);
    let long = |kind: u16, len: usize| frame(OWN, kind, &vec![0; len]);
    assert!(m.receive(&long(0x88b5, 1500)).is_some());
    assert_eq!((m.receive(&long(0x88b5, 1501)), m.receive(&long(0x8100, 1504))), (None, None));
    m.write(RCW1, 0x1800_0000);
    assert!(m.receive(&long(0x8100, 1504)).is_some());
    m.write(RCW1, 0x5000_0000);
    assert!(m.receive(&long(0x88b5, 2000)).is_some());
    m.write(IS, u32::MAX);
    assert_eq!(m.receive(&long(0x88b5, 4096 - 17)), None);
    assert_eq!(m.read(IS), OVERRUN | REJECT);
    assert_eq!((m.send(&long(0x88b5, 1500)).len(), m.send(&long(0x88b5, 1501)).len()), (1514, 0));
    m.write(TC, 0x5000_0000);
    assert_eq!((m.send(&long(0x88b5, 4082)).len(), m.send(&long(0x88b5, 4083)).len()), (4096, 0));
    // With its FCS, if that is right.
    m.write(TC, 0x3000_0000);
    let mut sent = frame(PEER, 0x88b5, &[3; 50]);
    let bare = sent.clone();
    sent.extend([0; 4]);
    assert!(m.send(&sent).is_empty());
    sent.truncate(64);
    sent.extend(crc(&bare).to_le_bytes());
    assert_eq!(m.send(&sent), bare);
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |c: u32, _| if c & 1 != 0 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 };
    !bytes.iter().fold(u32::MAX, |c, b| (0..8).fold(c ^ u32::from(*b), step))
}

#[test]
fn addresses_are_filtered() {
    let mut m = mac(&[("mcast-extend", Value::Bool(true))]);
    let group = [1, 0, 0x5e, 0x01, 0x02, 0x03];
    let data = [0; 60];
    assert_eq!(m.receive(&frame(PEER, 0x88b5, &data)), None);
    assert_eq!(m.receive(&frame(group, 0x88b5, &data)), None);
    assert_eq!(m.receive(&frame([0xff; 6], 0x88b5, &data)).unwrap().1[2], 4);
    for i in 0..4 {
        m.write(FMI, i);
        m.write(AF0, 0x015e_0001);
        m.write(AF1, 0x0302 + (i << 8));
    }
    assert_eq!([m.read(AF0), m.read(AF1)], [0x015e_0001, 0x0602]);
    assert_eq!(m.receive(&frame(group, 0x88b5, &data)).unwrap().1[..3], [0x0302, 0x015e_0001, 3]);
    assert_eq!(m.receive(&frame([3, 0, 0, 0, 0, 0], 0x88b5, &data)), None);
    m.write(FMI, 0);
    m.write(FFE, 0);
    assert_eq!((m.read(FFE), m.receive(&frame(group, 0x88b5, &data))), (0, None));
    m.write(FFE, 1);
    m.write(IS, u32::MAX);
    m.write(RAF, 6);
    assert_eq!((m.receive(&frame([0xff; 6], 0x88b5, &data)), m.receive(&frame(group, 0x88b5, &data))), (None, None));
    assert_eq!(m.read(IS), REJECT);
    m.write(FMI, 1 << 31);
    m.write(RAF, 0);
    assert!(m.receive(&frame(PEER, 0x88b5, &data)).is_some());
    // The extended filter, behind the promiscuous one: an address, and a table of groups.
    m.write(RAF, 1 << 11 | 1 << 12);
    m.write(UAWL, 2);
    m.write(UAWL + 4, 0x0100);
    assert!(m.receive(&frame(PEER, 0x88b5, &data)).is_some());
    assert_eq!(m.receive(&frame(OWN, 0x88b5, &data)), None);
    assert_eq!(m.receive(&frame(group, 0x88b5, &data)), None);
    m.write(MULTICAST + 4 * 0x0203, 1);
    assert_eq!([m.read(MULTICAST + 4 * 0x0203), m.read(MULTICAST + 4 * 0x0202)], [1, 0]);
    assert!(m.receive(&frame(group, 0x88b5, &data)).is_some());
}

#[test]
fn checksums_in_part_and_in_full() {
    let text = |t: &str| Value::Text(t.into());
    let good = datagram();
    let mut m = mac(&[("txcsum", text("partial")), ("rxcsum", text("partial"))]);
    // As Linux says it: from the segment on, seeded with the pseudo header in its place.
    let mut bare = good.clone();
    let pseudo = sum(&[&good[26..34], &[0, 17, 0, 20]].concat(), 0);
    bare[40..42].copy_from_slice(&pseudo.to_be_bytes());
    assert_eq!(m.send_with(&bare, [1, 34 << 16 | 40, 0])[0][..54], good);
    bare[40..42].fill(0);
    assert_eq!(m.send_with(&bare, [1, 34 << 16 | 40, pseudo.into()])[0][..54], good);
    assert_eq!(m.send_with(&bare, [0, 34 << 16 | 40, pseudo.into()])[0][..54], bare, "it was not asked for");
    // Outside the frame: nothing happens.
    assert_eq!(m.send_with(&bare, [1, 0xffff << 16 | 0xffff, 0])[0][..54], bare);
    let (bytes, words) = m.receive(&good).unwrap();
    assert_eq!(words[3], 0x0800_0000 | u32::from(sum(&bytes[14..], 0)));
    let mut m = mac(&[("txcsum", text("full")), ("rxcsum", text("full"))]);
    bare[24..26].fill(0);
    assert_eq!(m.send_with(&bare, [2, 0, 0])[0][..54], good);
    assert_eq!(m.send_with(&bare, [0, 0, 0])[0][..54], bare);
    assert_eq!(m.receive(&good).unwrap().1[2], 3 << 3);
    for (at, status) in [(50, 7 << 3), (24, 5 << 3)] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(m.receive(&bad).unwrap().1[2], status);
    }
    assert_eq!(m.receive(&frame(OWN, 0x88b5, &[0; 60])).unwrap().1[2], 0);
}

#[test]
fn vlan_tags_are_changed() {
    let yes = Value::Bool(true);
    let mut m = mac(&[("rx-vlan", yes.clone()), ("tx-vlan", yes)]);
    m.write(TPID0, 0x88a8_8100);
    m.write(TTAG, 0x88a8_0007);
    m.write(RTAG, 0x8100_0008);
    let plain = frame(PEER, 0x88b5, &[1; 60]);
    let tagged = |id: u16| [&plain[..12], &[0x81, 0], &id.to_be_bytes(), &plain[12..]].concat();
    // Nothing happens before the new functions are on.
    assert_eq!(m.send(&tagged(5)), tagged(5));
    // Identifiers 5 and 6: translated to 9; 6 is stripped and tagged if selected.
    m.write(TX_VLAN + 4 * 5, 9 << 2);
    m.write(TX_VLAN + 4 * 6, 9 << 2 | 3);
    assert_eq!(m.read(TX_VLAN + 4 * 6), 9 << 2 | 3);
    m.write(RAF, 1 << 11);
    assert_eq!([m.send(&tagged(5)), m.send(&tagged(0xe005))], [tagged(9), tagged(0xe009)]);
    m.write(RAF, 1 << 11 | 3 << 7);
    assert_eq!([m.send(&tagged(5)), m.send(&tagged(6))], [tagged(9), plain.clone()]);
    m.write(RAF, 1 << 11 | 1 << 7);
    assert_eq!([m.send(&tagged(5)), m.send(&plain)], [plain.clone(), plain.clone()]);
    let outer = |inner: &[u8]| [&plain[..12], &[0x88, 0xa8, 0, 7], &inner[12..]].concat();
    m.write(RAF, 1 << 11 | 1 << 3);
    assert_eq!([m.send(&plain), m.send(&tagged(5))], [outer(&plain), outer(&tagged(9))]);
    m.write(RAF, 1 << 11 | 2 << 3);
    assert_eq!([m.send(&plain), m.send(&tagged(5))], [plain.clone(), outer(&tagged(9))]);
    m.write(RAF, 1 << 11 | 3 << 3);
    assert_eq!([m.send(&tagged(5)), m.send(&tagged(6))], [tagged(9), outer(&tagged(9))]);
    // The other way, with what was there in the status words.
    let mut came = tagged(0x2005);
    came[..6].copy_from_slice(&OWN);
    m.write(RX_VLAN + 4 * 5, 3);
    m.write(RAF, 1 << 11 | 3 << 9 | 3 << 5);
    let (bytes, words) = m.receive(&came).unwrap();
    assert_eq!(bytes, [&came[..12], &[0x81, 0, 0, 8], &came[16..]].concat());
    assert_eq!(words[3..], [0x8100_0000, 0x2005_0000 | 78]);
}

#[test]
fn pause_frames_hold_the_transmitter_up() {
    let mut m = mac(&[]);
    let mut pause = frame([1, 0x80, 0xc2, 0, 0, 1], 0x8808, &[0, 1, 0, 100]);
    pause.resize(60, 0);
    m.send(&frame(PEER, 0x88b5, &[1; 60]));
    assert_eq!(m.receive(&pause), None);
    // 100 times 512 ns.
    assert!(m.send(&frame(PEER, 0x88b5, &[2; 60])).is_empty());
    m.d.bench.advance(51_199);
    assert!(m.d.bench.part(0, 0).transmitted().is_empty());
    m.d.bench.advance(1);
    assert_eq!(m.d.bench.part(0, 0).transmitted().len(), 1);
    m.write(TPF, 0x1234);
    let sent = m.d.bench.part(0, 0).transmitted().pop().unwrap();
    assert_eq!((&sent[..6], &sent[12..18]), (&pause[..6], &[0x88, 8, 0, 1, 0x12, 0x34][..]));
    // Not heeded: it is a frame like others.
    m.write(0x40c, 0);
    m.write(FMI, 1 << 31);
    assert!(m.receive(&pause).is_some());
    assert_eq!(m.send(&frame(PEER, 0x88b5, &[3; 60])).len(), 74);
}

#[test]
fn counters_count_if_there_are_any() {
    let mut m = mac(&[]);
    m.send(&frame(PEER, 0x88b5, &[1; 60]));
    assert_eq!((m.read(STATISTICS + 8), m.read(0x4fc)), (0, 7));
    let mut m = mac(&[("stats", Value::Bool(true))]);
    assert_eq!(m.read(0x4fc), 0x107);
    m.send(&frame(PEER, 0x88b5, &[1; 60]));
    m.send(&frame([0xff; 6], 0x88b5, &[1; 1500]));
    m.receive(&frame(OWN, 0x88b5, &[1; 300])).unwrap();
    m.receive(&frame(OWN, 0x88b5, &[1; 1600]));
    let mut low = |at: u64| m.read(at);
    assert_eq!([low(0x200), low(0x208), low(0x238), low(0x250), low(0x260), low(0x280)], [318, 78 + 1518, 1, 1, 1, 1]);
    assert_eq!([low(0x290), low(0x2d8), low(0x2e0), low(0x2a0)], [1, 2, 1, 0]);
    m.write(RAF, 1 << 13);
    assert_eq!(m.read(0x208), 0);
}

#[test]
fn management_loopback_and_resets() {
    let mut m = mac(&[]);
    let read = |m: &mut Mac, register: u32| {
        m.write(MCR, 7 << 24 | register << 16 | 2 << 14 | 1 << 11);
        assert_eq!(m.read(MCR) & 0x880, 0x80);
        m.read(MRD)
    };
    assert_eq!(read(&mut m, 2), 0x10000, "management is off");
    m.write(MC, 0x5d);
    assert_eq!([read(&mut m, 2), read(&mut m, 3)], [0x10141, 0x10e40]);
    m.write(0x640, 1);
    assert!(m.d.bench.part(0, 0).line(1, 0));
    m.write(0x660, 1);
    assert!(!m.d.bench.part(0, 0).line(1, 0));
    // The PHY's loopback.
    m.write(MWD, 0x4140);
    m.write(MCR, 7 << 24 | 1 << 14 | 1 << 11);
    let sent = frame(OWN, 0x88b5, &[5; 60]);
    assert!(m.send(&sent).is_empty());
    assert_eq!(m.d.status(RX_RING), COMPLETE | FIRST | LAST | 74);
    m.write(MWD, 0x1140);
    m.write(MCR, 7 << 24 | 1 << 14 | 1 << 11);
    m.rx += 1;
    // The transmitter off: it takes nothing, and goes on later.
    m.write(TC, 0);
    assert!(m.send(&sent).is_empty());
    m.write(TC, 1 << 28);
    m.d.bench.advance(0);
    assert_eq!(m.d.bench.part(0, 0).transmitted(), std::slice::from_ref(&sent));
    // The receiver off: nobody hears.
    m.write(RCW1, 0);
    assert_eq!(m.receive(&sent), None);
    m.write(RCW1, 1 << 28);
    assert_eq!(m.d.bench.part(0, 0).frames_waiting(), 0);
    m.write(TC, 1 << 31);
    m.write(RCW1, 1 << 31);
    assert_eq!([m.read(TC), m.read(RCW1)], [1 << 28; 2]);
    m.write(IE, 0x1ff);
    assert!(m.d.bench.part(0, 0).line(0, 0));
    m.d.bench.part(0, 0).set_input(0, 0, true);
    m.write(IE, 0x1ff);
    assert!(!m.d.bench.part(0, 0).line(0, 0));
    m.d.bench.part(0, 0).set_input(0, 0, false);
    assert_eq!((m.read(IE), m.read(IS)), (0, 0x1c0));
}

#[test]
fn a_full_ring_keeps_frames_outside() {
    let mut m = mac(&[]);
    for _ in 0..RING + 3 {
        m.d.bench.part(0, 0).frame(&frame(OWN, 0x88b5, &[4; 60]));
        m.d.bench.hear();
    }
    assert_eq!(m.d.bench.part(0, 0).frames_waiting(), 3);
    for i in 0..3 {
        m.d.poke(RX_RING + 0x40 * i + 0x1c, &[0]);
    }
    m.d.write(S2MM + TAILDESC, RX_RING + 0x80);
    assert_eq!((m.d.bench.part(0, 0).frames_waiting(), m.d.status(RX_RING + 0x80)), (0, COMPLETE | FIRST | LAST | 74));
}
