//! Xilinx AXI4-Stream Data FIFO (PG085): what goes in comes out, with the borders of its packets.
//!
//! As a part on both streams of a DMA it is a loopback, as designs have it that try out a DMA. Not modelled: packet mode, the level outputs; the
//! application words of packets are not part of the stream and end here.

use emu_machine::device::{Cx, Device};
use emu_machine::parts::{PartBus, StreamPart};
use emu_machine::schema::{DeviceType, PropKind, PropSpec, Props};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// `xlnx,axis-data-fifo`.
pub const TYPE: DeviceType = DeviceType {
    props: &[PropSpec {
        name: "depth",
        kind: PropKind::Size { min: 16, max: 1 << 20 },
        default: Some("4096"),
        doc: "what it holds, bytes",
    }],
    part: Some(PartBus::Stream),
    ..DeviceType::new("xlnx,axis-data-fifo", "Xilinx AXI4-Stream Data FIFO (PG085), from a stream back to it", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes up to the end of each packet, from the end of the one before.
    packets: VecDeque<usize>,
    /// Bytes behind the last end.
    open: usize,
}

impl State {
    fn is_sound(&self) -> bool {
        let closed = self.packets.iter().try_fold(0usize, |all, n| all.checked_add(*n));
        closed.and_then(|closed| closed.checked_add(self.open)) == Some(self.bytes.len()) && self.packets.iter().all(|n| *n > 0)
    }
}

struct Fifo {
    s: State,
    depth: usize,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Fifo { s: State::default(), depth: props.int("depth") as usize }))
}

impl StreamPart for Fifo {
    fn push(&mut self, bytes: &[u8], _: Option<[u32; 5]>, ends: bool, cx: &mut Cx<'_>) -> usize {
        let n = bytes.len().min(self.depth.saturating_sub(self.s.bytes.len()));
        self.s.bytes.extend(&bytes[..n]);
        self.s.open += n;
        if ends && n == bytes.len() && self.s.open > 0 {
            self.s.packets.push_back(std::mem::take(&mut self.s.open));
        }
        if n > 0 {
            cx.notify();
        }
        n
    }

    fn pull(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>) -> (usize, Option<[u32; 5]>) {
        let left = self.s.packets.front_mut().unwrap_or(&mut self.s.open);
        let n = buffer.len().min(*left);
        *left -= n;
        buffer.iter_mut().zip(self.s.bytes.drain(..n)).for_each(|(to, byte)| *to = byte);
        if n > 0 {
            cx.notify();
        }
        let ends = n > 0 && self.s.packets.pop_front_if(|left| *left == 0).is_some();
        (n, ends.then_some([0; 5]))
    }
}

impl Device for Fifo {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn stream(&mut self) -> Option<&mut dyn StreamPart> {
        Some(self)
    }

    crate::snapshot!(s, |me, state| state.bytes.len() <= me.depth);
}
