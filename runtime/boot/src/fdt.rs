//! Device trees as data: reads a flattened device tree, changes it, writes it. Names are taken as they come: Linux's own trees have nodes that the
//! specification's rules for names would refuse (`__symbols__`, where a tree is made for overlays).
//!
//! Source: Devicetree Specification v0.4, chapter 5 (flattened format). Structure is copied into an owned tree, so that a
//! boot protocol can set `/chosen` and `/memory` without caring for offsets.

use std::collections::HashMap;

const MAGIC: u32 = 0xd00d_feed;
/// Bytes of the header, version 17.
const HEADER: usize = 40;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const END: u32 = 9;

/// Deepest nesting accepted.
const MAX_DEPTH: usize = 64;

/// A node: properties in order, then children in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Name with unit address; empty for the root.
    pub name: String,
    /// Property names and raw values.
    pub properties: Vec<(String, Vec<u8>)>,
    /// Children.
    pub children: Vec<Node>,
}

impl Node {
    /// A property's raw value.
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|p| p.0 == name).map(|p| &p.1[..])
    }

    /// A property's value as one big-endian cell.
    pub fn cell(&self, name: &str) -> Option<u32> {
        Some(u32::from_be_bytes(self.property(name)?.get(..4)?.try_into().ok()?))
    }

    /// A property's value as strings.
    pub fn strings(&self, name: &str) -> Vec<String> {
        let value = self.property(name).unwrap_or(&[]);
        value.split(|b| *b == 0).filter(|s| !s.is_empty()).map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    }

    /// Sets (or adds) a property.
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        match self.properties.iter_mut().find(|p| p.0 == name) {
            Some(p) => p.1 = value,
            None => self.properties.push((name.to_string(), value)),
        }
    }

    /// Sets a property to a string.
    pub fn set_text(&mut self, name: &str, text: &str) {
        let mut value = text.replace('\0', " ").into_bytes();
        value.push(0);
        self.set(name, value);
    }

    /// The child called `name`, or `name@...`; made if absent.
    pub fn child(&mut self, name: &str) -> &mut Node {
        let found = self.children.iter().position(|c| c.name == name || c.name.strip_prefix(name).is_some_and(|r| r.starts_with('@')));
        let at = found.unwrap_or_else(|| {
            self.children.push(Node { name: name.to_string(), ..Node::default() });
            self.children.len() - 1
        });
        &mut self.children[at]
    }
}

/// A whole tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// Memory reservations: address, size.
    pub reservations: Vec<(u64, u64)>,
    /// CPU that boots.
    pub boot_cpu: u32,
    /// Root node.
    pub root: Node,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn word(&mut self) -> Result<u32, String> {
        let value = be32(self.bytes, self.at)?;
        self.at += 4;
        Ok(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(4);
    }

    fn text(&mut self) -> Result<String, String> {
        let text = c_text(self.bytes, self.at)?;
        self.at += text.len() + 1;
        self.align();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)).ok_or("cut short in a property")?;
        self.at += len;
        self.align();
        Ok(taken)
    }
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, String> {
    bytes.get(at..).and_then(|b| b.get(..4)).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes).ok_or_else(|| "cut short".into())
}

fn c_text(bytes: &[u8], at: usize) -> Result<&[u8], String> {
    let rest = bytes.get(at..).ok_or("a name lies outside the file")?;
    let len = rest.iter().position(|b| *b == 0).ok_or("a name has no end")?;
    Ok(&rest[..len])
}

impl Tree {
    /// Reads a flattened device tree, version 16 or 17.
    ///
    /// # Errors
    /// A message saying what is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Tree, String> {
        if be32(bytes, 0)? != MAGIC {
            return Err("no device tree blob: its first four bytes are not d00dfeed".into());
        }
        let total = be32(bytes, 4)? as usize;
        let bytes = bytes.get(..total).ok_or_else(|| format!("truncated: its header says {total} bytes, the file has {}", bytes.len()))?;
        let (structure, strings, reserved) = (be32(bytes, 8)? as usize, be32(bytes, 12)? as usize, be32(bytes, 16)? as usize);
        if be32(bytes, 24)? > 17 {
            return Err("needs a newer reader than version 17".into());
        }
        let mut tree = Tree { boot_cpu: be32(bytes, 28)?, ..Tree::default() };
        let mut at = reserved;
        loop {
            let pair = |at| -> Result<u64, String> { Ok(u64::from(be32(bytes, at)?) << 32 | u64::from(be32(bytes, at + 4)?)) };
            let (address, size) = (pair(at)?, pair(at + 8)?);
            if (address, size) == (0, 0) {
                break;
            }
            tree.reservations.push((address, size));
            at += 16;
        }
        let mut reader = Reader { bytes, at: structure };
        let mut open: Vec<Node> = Vec::new();
        loop {
            match reader.word()? {
                BEGIN_NODE => {
                    if open.len() >= MAX_DEPTH {
                        return Err(format!("nested deeper than {MAX_DEPTH} nodes"));
                    }
                    let name = reader.text()?;
                    open.push(Node { name, ..Node::default() });
                }
                END_NODE => {
                    let node = open.pop().ok_or("a node ends that never began")?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(node),
                        None => {
                            tree.root = node;
                            return Ok(tree);
                        }
                    }
                }
                PROPERTY => {
                    let (len, name) = (reader.word()? as usize, reader.word()? as usize);
                    let name = String::from_utf8_lossy(c_text(bytes, strings.saturating_add(name))?).into_owned();
                    let value = reader.take(len)?.to_vec();
                    open.last_mut().ok_or("a property outside any node")?.properties.push((name, value));
                }
                NOTHING => {}
                other => return Err(format!("unknown token {other:#x} in its structure")),
            }
        }
    }

    /// Writes the tree, version 17.
    ///
    /// # Errors
    /// A name has a zero byte in it, or the tree is larger than 4 GiB.
    pub fn write(&self) -> Result<Vec<u8>, String> {
        let mut writer = Writer::default();
        writer.node(&self.root)?;
        writer.word(END);
        let reservations: Vec<u8> =
            self.reservations.iter().chain([&(0, 0)]).flat_map(|&(at, size)| [at.to_be_bytes(), size.to_be_bytes()].concat()).collect();
        let structure = HEADER + reservations.len();
        let strings = structure + writer.structure.len();
        let total = strings + writer.strings.len();
        u32::try_from(total).map_err(|_| "cannot be written: it is larger than 4 GiB")?;
        let lengths = [writer.strings.len(), writer.structure.len()];
        let words = [MAGIC as usize, total, structure, strings, HEADER, 17, 16, self.boot_cpu as usize, lengths[0], lengths[1]];
        let header: Vec<u8> = words.iter().flat_map(|&word| (word as u32).to_be_bytes()).collect();
        Ok([header, reservations, writer.structure, writer.strings].concat())
    }
}

/// The two blocks of a tree that is being written.
#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Where in `strings` a property's name already is.
    places: HashMap<String, u32>,
}

impl Writer {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn node(&mut self, node: &Node) -> Result<(), String> {
        self.word(BEGIN_NODE);
        let name = terminated(&node.name)?;
        self.bytes(&name);
        for (name, value) in &node.properties {
            let place = match self.places.get(name) {
                Some(&place) => place,
                None => {
                    let place = self.strings.len() as u32;
                    self.strings.extend(terminated(name)?);
                    self.places.insert(name.clone(), place);
                    place
                }
            };
            self.word(PROPERTY);
            self.word(value.len() as u32);
            self.word(place);
            self.bytes(value);
        }
        for child in &node.children {
            self.node(child)?;
        }
        self.word(END_NODE);
        Ok(())
    }
}

fn terminated(name: &str) -> Result<Vec<u8>, String> {
    if name.contains('\0') {
        return Err(format!("cannot be written: the name {name:?} has a zero byte in it"));
    }
    Ok([name.as_bytes(), b"\0"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.root.set_text("compatible", "acme,board");
        tree.root.child("chosen").set_text("bootargs", "quiet");
        tree.root.child("memory@0").set("reg", vec![0, 0, 0, 0, 0x20, 0, 0, 0]);
        tree
    }

    #[test]
    fn what_is_written_reads_back() {
        let tree = sample();
        assert_eq!(Tree::parse(&tree.write().unwrap()).unwrap(), tree);
    }

    #[test]
    fn a_tree_for_overlays_reads_back() {
        let mut tree = sample();
        tree.reservations.push((0x1000, 0x2000));
        tree.root.child("__symbols__").set_text("uart1", "/axi/serial@e0001000");
        tree.root.child("cpu@0@1").set("odd", vec![1, 2, 3]);
        tree.root.child("cpu@0@1").set_text("compatible", "the same name twice");
        let bytes = tree.write().unwrap();
        assert_eq!(Tree::parse(&bytes).unwrap(), tree);
        // Every name once.
        assert_eq!(bytes.windows(11).filter(|w| w == b"compatible\0").count(), 1);
        tree.root.child("a\0b");
        assert!(tree.write().unwrap_err().contains("zero byte"));
    }

    #[test]
    fn a_truncated_tree_is_refused() {
        let bytes = sample().write().unwrap();
        assert!(Tree::parse(&bytes[..bytes.len() - 8]).unwrap_err().contains("truncated"));
    }

    proptest! {
        #[test]
        fn damaged_trees_never_panic(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
            let mut bytes = sample().write().unwrap();
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(cut.max(8));
            let _ = Tree::parse(&bytes);
        }
    }
}
