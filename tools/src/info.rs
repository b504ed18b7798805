//! `info`: what a shadow says about itself, and what a cold start would do with it.

use crate::anatomy::Anatomy;
use crate::args::InfoArgs;
use crate::error::{Failure, Outcome};
use crate::forecast::ColdStart;
use crate::info_text::write_info;
use crate::output::write_document;
use crate::progress::Progress;
use crate::shadow::{Member, Oddity, Shadow, copy_name};
use crate::survey::{Fact, Records, Space, State, Survey};
use crate::text::Size;
use brindle::format::{CopyName, FORMAT_VERSION, Superblock};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::Write;

/// `brindle-info/1`: what a shadow is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Info {
    pub(crate) members: Vec<MemberInfo>,
    /// Ages of the wblocks that have a header; none has one: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ages: Option<Ages>,
    /// Of a deep look: wblocks in use by the tenth of them that is live, the emptiest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live_tenths: Option<[u64; 10]>,
    /// Of a deep look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records: Option<Records>,
    /// Of a deep look: bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<Space>,
    pub(crate) cold_start: ColdStart,
    /// What is not as it should be with the files as a whole.
    pub(crate) oddities: Vec<String>,
}

/// What is known of one file or device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberInfo {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) format_version: u32,
    /// In hex digits.
    pub(crate) store_id: String,
    pub(crate) stripe: u32,
    pub(crate) stripes: u32,
    pub(crate) wblock_bytes: u32,
    /// Over all stripes.
    #[schemars(with = "u64")]
    pub(crate) data_size_bytes: Size,
    /// The store was closed in order, and nothing was written since.
    pub(crate) clean: bool,
    /// A store was moving here and has not arrived.
    pub(crate) incomplete: bool,
    /// 0: the store was founded here.
    pub(crate) attached_at_us: u64,
    pub(crate) generation: u64,
    pub(crate) created_at_us: u64,
    pub(crate) clock_floor_us: u64,
    pub(crate) sequence_limit: u64,
    /// Wblocks that the census knows; 0: there is none.
    pub(crate) census_wblocks: u32,
    /// A first.
    pub(crate) superblock_copies: Vec<CopyInfo>,
    /// Fields that the copies do not agree on.
    pub(crate) copies_differ: Vec<Difference>,
    pub(crate) wblocks: WblockInfo,
}

/// One of the two copies of a superblock.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CopyInfo {
    /// `A` or `B`.
    pub(crate) copy: &'static str,
    /// This one counts.
    pub(crate) counts: bool,
    /// Why it does not verify.
    pub(crate) error: Option<String>,
    pub(crate) generation: Option<u64>,
    #[serde(flatten)]
    pub(crate) anatomy: Anatomy,
}

/// A field of which the copies differ.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Difference {
    pub(crate) field: &'static str,
    pub(crate) a: String,
    pub(crate) b: String,
}

/// Wblocks by state.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct WblockInfo {
    pub(crate) total: u64,
    /// Those that are struck out included.
    pub(crate) free: u64,
    pub(crate) struck_out: u64,
    pub(crate) in_use: u64,
    pub(crate) damaged: u64,
    pub(crate) foreign: u64,
    pub(crate) missing: u64,
    pub(crate) stale: u64,
    pub(crate) refused: u64,
}

/// When wblocks were opened: microseconds since 1970.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "members of JSON with their unit")]
pub(crate) struct Ages {
    pub(crate) oldest_us: u64,
    pub(crate) median_us: u64,
    pub(crate) newest_us: u64,
    /// The time by which ages are told.
    pub(crate) now_us: u64,
}

/// `brindle info`.
pub(crate) fn run(args: &InfoArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let info = collect(Shadow::open(&args.paths)?, args.deep)?;
    if is_json {
        write_document(out, "brindle-info/1", &info)?;
    } else {
        write_info(out, &info)?;
    }
    Ok(Outcome::Good)
}

fn collect(mut shadow: Shadow, is_deep: bool) -> Result<Info, Failure> {
    let said = |oddity: &Oddity| format!("{} {}", oddity.path.display(), oddity.what);
    let oddities = shadow.oddities.iter().map(said).collect();
    let named = shadow.members.len();
    if is_deep {
        shadow.keep_first_store();
    }
    let survey = if is_deep {
        let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
        Survey::deep(&shadow, &progress)?
    } else {
        Survey::of_headers(&shadow)?
    };
    Ok(Info::of(&shadow, &survey, oddities, named))
}

impl Info {
    /// `named`: members that there were, before those of other stores were left out.
    pub(crate) fn of(
        shadow: &Shadow,
        survey: &Survey,
        oddities: Vec<String>,
        named: usize,
    ) -> Self {
        let members = shadow.members.iter().zip(&survey.facts);
        let members = members.map(|(member, facts)| MemberInfo::of(member, facts)).collect();
        let has_strangers = named > shadow.members.len() || shadow.is_mixed();
        Self {
            members,
            ages: Ages::of(survey),
            live_tenths: survey.totals.map(|_| live_tenths(shadow, survey)),
            records: survey.totals.map(|(records, _)| records),
            space: survey.totals.map(|(_, space)| space),
            cold_start: ColdStart::of(shadow, survey, has_strangers),
            oddities,
        }
    }
}

impl MemberInfo {
    fn of(member: &Member, facts: &[Fact]) -> Self {
        let superblock = member.superblock;
        let geometry = superblock.geometry;
        let census = member.census.as_ref();
        let counted = member
            .places()
            .take_while(|place| census.is_some_and(|census| census.tag(*place).is_some()));
        let superblock_copies = copies(member);
        Self {
            path: member.path.display().to_string(),
            bytes: member.bytes,
            format_version: FORMAT_VERSION,
            store_id: superblock.store_id.to_string(),
            stripe: superblock.stripe,
            stripes: geometry.stripes,
            wblock_bytes: geometry.wblock_bytes,
            data_size_bytes: Size(geometry.region_bytes()),
            clean: superblock.clean,
            incomplete: superblock.incomplete,
            attached_at_us: superblock.attached_at,
            generation: superblock.generation,
            created_at_us: superblock.created_at,
            clock_floor_us: superblock.clock_floor,
            sequence_limit: superblock.sequence_limit.0,
            census_wblocks: u32::try_from(counted.count()).unwrap_or(u32::MAX),
            copies_differ: differences(&superblock_copies),
            superblock_copies,
            wblocks: WblockInfo::of(geometry.wblocks_per_stripe, facts),
        }
    }
}

fn copies(member: &Member) -> Vec<CopyInfo> {
    let names = [CopyName::A, CopyName::B];
    let copies = names.into_iter().zip(&member.copies).map(|(name, bytes)| {
        let decoded = Superblock::decode_copy(bytes);
        let damaged = member.damaged_copy.filter(|damaged| damaged.copy == name);
        CopyInfo {
            copy: copy_name(name),
            counts: name == member.copy,
            error: damaged.map(|damaged| damaged.error.to_string()),
            generation: decoded.ok().map(|superblock| superblock.generation),
            anatomy: Anatomy::of_superblock(bytes),
        }
    });
    copies.collect()
}

fn differences(copies: &[CopyInfo]) -> Vec<Difference> {
    let [a, b] = copies else { return Vec::new() };
    let pairs = a.anatomy.fields.iter().zip(&b.anatomy.fields);
    let differ = pairs.filter(|(a, b)| a.hex != b.hex && a.name != "checksum");
    differ
        .map(|(a, b)| Difference { field: a.name, a: a.meaning.clone(), b: b.meaning.clone() })
        .collect()
}

impl WblockInfo {
    fn of(total: u32, facts: &[Fact]) -> Self {
        let mut info = Self { total: total.into(), ..Self::default() };
        info.missing = u64::from(total).saturating_sub(facts.len() as u64);
        for fact in facts {
            match fact.state {
                State::Free => info.free += 1,
                State::StruckOut => {
                    info.free += 1;
                    info.struck_out += 1;
                }
                State::InUse => info.in_use += 1,
                State::Damaged => info.damaged += 1,
                State::Foreign => info.foreign += 1,
                State::Missing => info.missing += 1,
                State::Stale => info.stale += 1,
                State::Refused => info.refused += 1,
            }
        }
        info
    }

    /// Those that cannot be used, with their names.
    pub(crate) fn bad(&self) -> String {
        let parts = [
            (self.damaged, "damaged"),
            (self.foreign, "foreign"),
            (self.missing, "missing"),
            (self.stale, "stale"),
            (self.refused, "refused"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, name)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }
}

impl Ages {
    fn of(survey: &Survey) -> Option<Self> {
        let used = survey.facts.iter().flatten().filter(|fact| fact.state == State::InUse);
        let mut opened: Vec<u64> = used.map(|fact| fact.opened_at).collect();
        opened.sort_unstable();
        Some(Self {
            oldest_us: *opened.first()?,
            median_us: *opened.get(opened.len() / 2)?,
            newest_us: *opened.last()?,
            now_us: survey.now_us,
        })
    }
}

fn live_tenths(shadow: &Shadow, survey: &Survey) -> [u64; 10] {
    let mut tenths = [0; 10];
    for (member, facts) in shadow.members.iter().zip(&survey.facts) {
        let rblocks = u64::from(member.superblock.geometry.wblock_rblocks());
        for fact in facts.iter().filter(|fact| fact.state == State::InUse) {
            let tenth = (u64::from(fact.live) * 10 / rblocks.max(1)).min(9);
            if let Some(count) = usize::try_from(tenth).ok().and_then(|at| tenths.get_mut(at)) {
                *count += 1;
            }
        }
    }
    tenths
}
