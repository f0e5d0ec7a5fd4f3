//! Marvell 88E1116R, a gigabit PHY on an MDIO bus (IEEE 802.3 clause 22, tables 22-6 and 40-3; Marvell 88E1116R data sheet).
//!
//! The MAC's management port -> registers; the cable's state -> link bits, negotiated speed, interrupt. The partner can do everything up to
//! 1000BASE-T, full duplex, and negotiation takes no time. Not modelled: pause by the partner, cable tests, LEDs (pages other than 0 are
//! kept, and change nothing).

use serde::{Deserialize, Serialize};

const RESET: u16 = 1 << 15;
const LOOPBACK: u16 = 1 << 14;
const SPEED_LOW: u16 = 1 << 13;
const NEGOTIATE: u16 = 1 << 12;
const POWER_DOWN: u16 = 1 << 11;
const ISOLATE: u16 = 1 << 10;
const RESTART: u16 = 1 << 9;
const FULL_DUPLEX: u16 = 1 << 8;
const SPEED_HIGH: u16 = 1 << 6;

/// 10 and 100 Mbit/s in both duplexes, extended status, management without preamble, negotiation, extended registers.
const ABILITIES: u16 = 0x7949;
const NEGOTIATED: u16 = 1 << 5;
const LINK: u16 = 1 << 2;

const INTERRUPT_NEGOTIATED: u16 = 1 << 11;
const INTERRUPT_LINK: u16 = 1 << 10;

/// Pages of registers 16 to 31 that are kept.
const PAGES: usize = 8;
const PAGE: u8 = 22;

/// The PHY's registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phy {
    /// Registers 0 to 15, the same in all pages.
    base: [u16; 16],
    /// Registers 16 to 31 of each page.
    pages: Vec<[u16; 16]>,
    page: u8,
    /// The cable is plugged in at both ends.
    cable: bool,
    /// The link was up since the last look at the status.
    latch: bool,
}

impl Default for Phy {
    fn default() -> Phy {
        let mut base = [0; 16];
        base[0] = NEGOTIATE | FULL_DUPLEX | SPEED_HIGH;
        (base[2], base[3]) = (0x0141, 0x0e40);
        (base[4], base[7], base[9], base[15]) = (0x01e1, 0x2001, 0x0300, 0x3000);
        let mut pages = vec![[0; 16]; PAGES];
        pages[0][0] = 0x3060;
        pages[0][4] = 0x0020;
        (pages[2][0], pages[2][5]) = (0x0448, 0x1046);
        (pages[3][0], pages[3][1], pages[3][2]) = (0x177e, 0x4415, 0x4a05);
        Phy { base, pages, page: 0, cable: false, latch: false }
    }
}

impl Phy {
    /// False for what a snapshot must not hold.
    pub fn is_sound(&self) -> bool {
        self.pages.len() == PAGES
    }

    /// True if the link is up.
    pub fn link(&self) -> bool {
        self.cable && self.base[0] & POWER_DOWN == 0
    }

    /// True if frames go to and come from the wire.
    pub fn is_open(&self) -> bool {
        self.link() && self.base[0] & (ISOLATE | LOOPBACK) == 0
    }

    /// True if the MAC hears itself.
    pub fn is_loopback(&self) -> bool {
        self.base[0] & (LOOPBACK | POWER_DOWN | ISOLATE) == LOOPBACK
    }

    /// True while the interrupt pin is active.
    pub fn interrupt(&self) -> bool {
        self.pages[0][2] & self.pages[0][3] != 0
    }

    /// The cable was plugged in or pulled out.
    pub fn plug(&mut self, cable: bool) {
        let was = self.link();
        self.cable = cable;
        self.changed(was);
    }

    fn changed(&mut self, was: bool) {
        let link = self.link();
        if link != was {
            self.pages[0][3] |= INTERRUPT_LINK;
            if link && self.base[0] & NEGOTIATE != 0 {
                self.pages[0][3] |= INTERRUPT_NEGOTIATED;
            }
        }
        self.latch &= link;
    }

    /// Mbit/s, and full duplex: what both ends can do, or what is forced.
    fn mode(&self) -> (u16, bool) {
        let control = self.base[0];
        if control & NEGOTIATE == 0 {
            let speed = if control & SPEED_HIGH != 0 {
                1000
            } else if control & SPEED_LOW != 0 {
                100
            } else {
                10
            };
            return (speed, control & FULL_DUPLEX != 0);
        }
        let (advertised, gigabit) = (self.base[4], self.base[9]);
        let best = [(gigabit, 1 << 9, 1000, true), (advertised, 1 << 8, 100, true), (advertised, 1 << 7, 100, false)];
        let best = best.iter().find(|(register, bit, ..)| register & bit != 0);
        best.map_or((10, advertised & 1 << 6 != 0), |b| (b.2, b.3))
    }

    /// Reads a register; `look`: as a debugger does, changing nothing.
    pub fn read(&mut self, register: u8, look: bool) -> u16 {
        let (link, negotiates) = (self.link(), self.base[0] & NEGOTIATE != 0);
        let done = link && negotiates;
        match register {
            1 => {
                // A link that was lost is told once, even if it is back.
                let seen = self.latch && link;
                if !look {
                    self.latch = link;
                }
                ABILITIES | if seen { LINK } else { 0 } | if done { NEGOTIATED } else { 0 }
            }
            5 if done => 0xc1e1,
            6 => {
                if done {
                    0xf
                } else {
                    4
                }
            }
            8 if done => 0x4006,
            // The partner's 1000BASE-T in full duplex, both receivers work, this end is the master.
            10 if done && self.base[9] & 0x300 != 0 => 0x7800,
            5 | 8 | 10 => 0,
            0..=15 => self.base[usize::from(register)],
            PAGE => self.page.into(),
            17 if self.page == 0 => {
                let (speed, full) = self.mode();
                let speed = match speed {
                    1000 => 2 << 14,
                    100 => 1 << 14,
                    _ => 0,
                };
                // Resolved, link.
                if link { speed | u16::from(full) << 13 | 1 << 11 | 1 << 10 } else { 0 }
            }
            19 if self.page == 0 && !look => std::mem::take(&mut self.pages[0][3]),
            _ => self.pages.get(usize::from(self.page)).map_or(0, |p| p[usize::from(register & 15)]),
        }
    }

    /// Writes a register.
    pub fn write(&mut self, register: u8, value: u16) {
        match register {
            0 => {
                let was = self.link();
                let kept = SPEED_LOW | SPEED_HIGH | NEGOTIATE | FULL_DUPLEX;
                let kept = if value & RESET != 0 { kept } else { kept | LOOPBACK | POWER_DOWN | ISOLATE };
                self.base[0] = value & kept;
                self.changed(was);
                if value & (RESTART | RESET) != 0 && self.base[0] & NEGOTIATE != 0 && self.link() {
                    self.pages[0][3] |= INTERRUPT_NEGOTIATED;
                }
            }
            4 | 7 | 9 => self.base[usize::from(register)] = value,
            1..=15 => {}
            PAGE => self.page = value as u8,
            17 | 19 | 21 if self.page == 0 => {}
            _ => {
                if let Some(page) = self.pages.get_mut(usize::from(self.page)) {
                    page[usize::from(register & 15)] = value;
                }
            }
        }
    }
}
