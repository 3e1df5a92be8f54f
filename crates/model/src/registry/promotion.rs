//! Letting an alias name a version, by its next record; its history stays.
//!
//! An alias is a stack of promotions. A promotion lays its version on top. A rollback takes the top away, so that the alias names the version that it
//! named before the newest promotion still in force; what is removed meanwhile, and what is the version that was on top, is passed over. Of
//! P1 P2 P3 R R the first R names 2 and the second names 1, the last that there is: a third is an error. What was rolled back never comes again by a
//! rollback: P1 P2 P3 R P4 R R names 2, then 4, then 2, then 1. The stack itself is stored nowhere: each record says which record is beneath it, and
//! that of a rollback says what the record says to which it goes back. Records of earlier releases say nothing; beneath them is the record before.
//! Records are numbered and create-only: of two who move an alias at the same moment one gets the number, and the other is told what the alias names now.
//!
//! Whoever moves an alias writes the record and then looks for the version's tombstone; whoever removes one writes the tombstone
//! and then looks at the aliases. Whichever create came first, the writer of the second sees it: the arrays stay, or the promotion is taken back, or both.

use super::alias::{Alias, DecidedOn, Measured, Named, Records, alias_key, first_beneath, records};
use super::common::with_common;
use super::removal::{is_removed, read_tombstone};
use super::{CommonRecords, FORMAT, LATEST, RegistryError, Remedy, model_key, read_evaluations, read_model_file};
use millstream_store::{Settled, Store, read_optional, record_bytes, settle};
use millstream_stream::batch::fail_point;

const REASON_CHARS_MOST: usize = 500;

/// Who moves an alias, when, and why.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// The user of a command, `http`, or the rule of `promote`.
    pub by: String,
    pub reason: Option<String>,
    pub now_ms: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub version: u32,
    /// What the alias named before; the version itself where nothing had to be written.
    pub before: Option<u32>,
    /// The number of the record in force.
    pub record: u32,
}

/// Moves one alias.
pub struct Mover<'a> {
    pub store: &'a dyn Store,
    pub model: &'a str,
    pub alias: &'a str,
    pub occasion: &'a Occasion,
    /// An error where a version cannot be served: it would be named to nobody's use.
    pub usable: &'a dyn Fn(u32) -> Result<(), RegistryError>,
}

/// A record to be written.
struct Step<'a> {
    version: u32,
    beneath: u32,
    rolled_back: bool,
    named: Option<&'a Named>,
    records: &'a Records,
}

impl Mover<'_> {
    /// Lets the alias name a version. The alias names what it named before again, and this is an error, when the version is removed meanwhile.
    /// A crash before the record changes nothing. After it the alias names the version as long as its arrays are there, and else what it named
    /// before: see `Named::find`.
    pub fn promote(&self, version: u32) -> Result<Moved, RegistryError> {
        self.promote_where(version, |_| true)
    }

    /// As `promote`, where `after` still is the number of the alias's newest record.
    pub fn promote_after(&self, version: u32, after: u32) -> Result<Moved, RegistryError> {
        self.promote_where(version, |newest| newest == after)
    }

    /// The number of the alias's newest record, 0 where there is none, and what it names.
    pub fn stands(&self) -> Result<(u32, Option<Named>), RegistryError> {
        let (records, named) = self.look()?;
        Ok((newest(&records), named))
    }

    fn promote_where(&self, version: u32, fits: impl Fn(u32) -> bool) -> Result<Moved, RegistryError> {
        check_alias(self.alias)?;
        let (store, model) = (self.store, self.model);
        read_model_file(store, model, version)?;
        if let Some(tombstone) = read_tombstone(store, model, version)? {
            return Err(tombstone.into());
        }
        (self.usable)(version)?;
        let (records, named) = self.look()?;
        if let Some(named) = named.as_ref().filter(|named| named.version() == version) {
            return Ok(Moved { version, before: Some(version), record: named.number });
        }
        if !fits(newest(&records)) {
            return Err(self.moved_meanwhile(named));
        }
        let beneath = named.as_ref().map_or(0, |named| named.number);
        self.write(&Step { version, beneath, rolled_back: false, named: named.as_ref(), records: &records })
    }

    /// Lets the alias name the version of the promotion beneath the one that is in force. Killed before or after the record, or failing, as
    /// `promote`.
    pub fn roll_back(&self) -> Result<Moved, RegistryError> {
        check_alias(self.alias)?;
        let (records, named) = self.look()?;
        let nothing = |named: Option<u32>| {
            let named = named_words(named);
            RegistryError::NothingBefore { model: self.model.to_owned(), alias: self.alias.to_owned(), named }
        };
        let Some(named) = named else { return Err(nothing(None)) };
        let fits = |version| Ok(version != named.version() && self.is_there(version)?);
        let first = named.beneath(self.store, &records)?;
        let Some((found, beneath)) = first_beneath(self.store, &records, first, fits)? else {
            return Err(nothing(Some(named.version())));
        };
        let version = found.version;
        (self.usable)(version)?;
        self.write(&Step { version, beneath, rolled_back: true, named: Some(&named), records: &records })
    }

    fn look(&self) -> Result<(Records, Option<Named>), RegistryError> {
        let records = records(self.store, self.model)?.remove(self.alias).unwrap_or_default();
        let named = Named::find(self.store, self.model, &records)?;
        Ok((records, named))
    }

    /// It was not removed, and nobody deleted its folder.
    fn is_there(&self, version: u32) -> Result<bool, RegistryError> {
        let has_file = read_optional(self.store, &model_key(self.model, version))?.is_some();
        Ok(has_file && !is_removed(self.store, self.model, version)?)
    }

    fn write(&self, step: &Step) -> Result<Moved, RegistryError> {
        let (store, model, alias, version) = (self.store, self.model, self.alias, step.version);
        let before = step.named.map(Named::version);
        let newest = newest(step.records);
        // One more is left for taking it back.
        let number = newest.checked_add(1).filter(|number| *number < u32::MAX).ok_or_else(|| {
            RegistryError::NoNumber { place: store.place(&format!("aliases/{model}/{alias}")), last: newest }
        })?;
        let measures = DecidedOn {
            version: self.measured(version)?,
            before: before.map(|before| self.measured(before)).transpose()?.flatten(),
        };
        let reason = self.occasion.reason.clone();
        let measures = Some(measures).filter(|measures| measures.version.is_some() || measures.before.is_some());
        let record = self.record(step, before, reason, measures);
        fail_point("promotion.before_record");
        match self.create(number, &record) {
            Ok(Settled::Mine) => {}
            Ok(Settled::There(_)) => return self.came_second(step),
            // A rollback that was written after all would be one too many when it is asked for again.
            Err(RegistryError::Store(source)) if step.rolled_back && source.is_transient() => {
                let (model, alias) = (model.to_owned(), alias.to_owned());
                return Err(RegistryError::RollbackUnknown { model, alias, source });
            }
            Err(error) => return Err(error),
        }
        fail_point("promotion.after_record");
        let unknown = |source| RegistryError::PromotionUnknown {
            model: model.to_owned(),
            version,
            alias: alias.to_owned(),
            source,
        };
        if !is_removed(store, model, version).map_err(unknown)? {
            return Ok(Moved { version, before, record: number });
        }
        // Its own version stands beneath it, and is passed over. Where another has the next number already, that one is in force.
        let beneath = step.named.map_or(0, |named| named.number);
        let back = Step { version: before.unwrap_or(0), beneath, rolled_back: true, ..*step };
        let why = format!("version {version} was removed while it was promoted");
        match self.create(number + 1, &self.record(&back, Some(version), Some(why), None)) {
            Err(RegistryError::Store(source)) => return Err(unknown(source)),
            created => drop(created?),
        }
        fail_point("promotion.after_return");
        let named = named_words(self.look()?.1.map(|named| named.version()));
        Err(RegistryError::RemovedMeanwhile { model: model.to_owned(), version, alias: alias.to_owned(), named })
    }

    fn record(&self, step: &Step, before: Option<u32>, reason: Option<String>, measures: Option<DecidedOn>) -> Alias {
        Alias {
            format: FORMAT,
            version: step.version,
            beneath: Some(step.beneath),
            attempt: Some(uuid::Uuid::new_v4().simple().to_string()),
            promoted_at_ms: Some(self.occasion.now_ms),
            by: Some(self.occasion.by.clone()),
            reason,
            before,
            measures,
            rolled_back: step.rolled_back,
        }
    }

    fn create(&self, number: u32, record: &Alias) -> Result<Settled, RegistryError> {
        let key = alias_key(self.model, self.alias, number);
        Ok(settle(self.store, &key, &record_bytes(&key, record)?)?)
    }

    /// Another has the number. Who wants what the alias names now has it.
    fn came_second(&self, step: &Step) -> Result<Moved, RegistryError> {
        let now = self.look()?.1;
        match now {
            Some(now) if now.version() == step.version && !step.rolled_back => {
                Ok(Moved { version: step.version, before: Some(step.version), record: now.number })
            }
            now => Err(self.moved_meanwhile(now)),
        }
    }

    fn moved_meanwhile(&self, now: Option<Named>) -> RegistryError {
        let named = named_words(now.map(|now| now.version()));
        RegistryError::MovedMeanwhile { model: self.model.to_owned(), alias: self.alias.to_owned(), named }
    }

    /// The newest evaluation. What is damaged is told elsewhere, and holds up nobody who wants another version.
    fn measured(&self, version: u32) -> Result<Option<Measured>, RegistryError> {
        let (store, model) = (self.store, self.model);
        let read = || -> Result<_, RegistryError> {
            let common = CommonRecords::open(store, model)?.find(store, model, version)?;
            Ok(with_common(read_evaluations(store, model, version)?, common))
        };
        let evaluations = match read() {
            Err(error) if error.remedy() == Remedy::Retry => return Err(error),
            read => read.unwrap_or_default(),
        };
        let newest = evaluations.into_iter().max_by_key(|evaluation| evaluation.evaluated_at_ms);
        Ok(newest.map(|newest| Measured {
            kind: newest.kind,
            scores: newest.scores,
            evaluated_at_ms: newest.evaluated_at_ms,
        }))
    }
}

fn newest(records: &Records) -> u32 {
    records.last_key_value().map_or(0, |(number, _)| *number)
}

fn named_words(version: Option<u32>) -> String {
    version.map_or("no version".to_owned(), |version| format!("version {version}"))
}

pub fn check_alias(alias: &str) -> Result<(), RegistryError> {
    const BYTES_MOST: usize = 64;
    let known = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(letter);
    let begins = alias.starts_with(|letter: char| letter.is_ascii_lowercase());
    if begins && alias.chars().all(known) && alias.len() <= BYTES_MOST && alias != LATEST {
        return Ok(());
    }
    Err(RegistryError::NoAlias { alias: alias.to_owned() })
}

/// As it is kept: one line, in which nothing but text stands. Empty, it is none.
pub fn check_reason(reason: &str) -> Result<Option<String>, String> {
    let reason = reason.trim();
    let count = reason.chars().count();
    if count > REASON_CHARS_MOST {
        return Err(format!("has {count} characters, {REASON_CHARS_MOST} are the most"));
    }
    if reason.chars().any(char::is_control) {
        return Err("holds a line break or another control character: it is one line of text".to_owned());
    }
    Ok(Some(reason.to_owned()).filter(|reason| !reason.is_empty()))
}
