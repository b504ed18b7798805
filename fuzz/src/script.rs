//! Bytes as a script; where scripts come from.

use std::path::Path;

/// What is left of a script. At its end everything is 0 and empty.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        std::array::from_fn(|at| taken.get(at).copied().unwrap_or(0))
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.number())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.u32() % limit
    }

    /// Bytes with a length in front, at most `most`.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let count = usize::from(self.u16()) % (most + 1);
        self.take(count)
    }

    /// Changes bytes of `image`: the rest of the script says where and to what.
    pub fn patch(mut self, image: &mut [u8]) {
        while !self.is_over() && !image.is_empty() {
            let at = self.u32() as usize % image.len();
            let count = usize::from(self.u8()) % 17;
            for (target, source) in image.iter_mut().skip(at).zip(self.take(count)) {
                *target = *source;
            }
        }
    }
}

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, or 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

/// `bytes` with a few changes: bits, bytes, cuts, copies, numbers at the edge.
pub fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        let len = 1 + random.below(16);
        let end = (at + len).min(bytes.len());
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next().to_le_bytes()[0],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let target = random.below(bytes.len());
                bytes.splice(target..target, copy);
            }
            5 => {
                let edge = [0, u64::MAX, 1 << 63, 1 << 31, 0x7fff, 0xff][random.below(6)];
                let target = bytes[at..end].iter_mut();
                target.zip(edge.to_le_bytes()).for_each(|(target, byte)| *target = byte);
            }
            6 => {
                let new = std::iter::repeat_with(|| random.next().to_le_bytes()[0]);
                let new: Vec<u8> = new.take(len).collect();
                bytes.splice(at..at, new);
            }
            _ if !bytes.is_empty() => bytes[at..end].fill(0),
            _ => {}
        }
    }
    bytes
}

/// Where to start for the target `name`: pieces of the golden shadows, and scripts.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let shadow = |file: &str| std::fs::read(golden.join(file)).expect("a golden shadow");
    let shadows = ["format-1.shadow", "format-1-reclaimed.shadow"].map(shadow);
    let mut random = Random(1);
    let mut noise = |bytes: usize| -> Vec<u8> {
        std::iter::repeat_with(|| random.next().to_le_bytes()[0]).take(bytes).collect()
    };
    let mut seeds = match name {
        "superblock" => shadows
            .iter()
            .map(|shadow| [&[0], &shadow[..4096], &shadow[32 << 10..(32 << 10) + 4096]].concat())
            .collect(),
        "wblock" => {
            let wblock = |shadow: &Vec<u8>| [&[0], &shadow[64 << 10..80 << 10]].concat();
            shadows.iter().map(wblock).collect()
        }
        "record" => {
            let at = (64 << 10) + 128;
            shadows.iter().map(|shadow| shadow[at..at + 256].to_vec()).collect()
        }
        "config" => [
            "data_size = \"1GiB\"\nshadow_dir = \"data\"\ndefault_ttl = \"2h\"\n",
            "wblock_size = 65536\nstripes = 4\nhuge_pages = \"off\"\nflush_max_ms = 10\n",
            "shadow_devices = [\"a\", \"b\"]\nevict_used_pct = 80\n[x]\n",
            "\"\\u001b[2J\" = 1\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "import" => [
            "{\"key\":\"a\",\"value\":{\"b\":[1,2.50,null]},\"ttl_ms\":5}\n",
            "{\"key_hex\":\"00ff\",\"value_text\":\"\\u001b[2J\\u009b\",\"version\":7}\n{}\n",
            "{\"key\":\"\\ud83d\\ude00\",\"value_hex\":\"0a\",\"expires_at_us\":9}\n",
            "{\"key\":\"a\",\"value\":\"\\u202e\u{202e}\u{7f}\"}\n[[[[[[\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        _ => Vec::new(),
    };
    seeds.extend([Vec::new(), vec![1], noise(64), noise(700)]);
    seeds.push([vec![1], noise(2000)].concat());
    seeds
}
