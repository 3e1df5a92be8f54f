//! What `promote` of a model does with new versions: each is held against the champion once, as soon as there are records to judge it by, and the
//! decision is kept beside it (`decision.json`, create-only) before the champion moves. So one trainer of several decides, and a crash between is
//! made up for by whoever looks next; where somebody has moved the alias since, theirs stands: the decision names the alias's record that it saw.
//!
//! Decided are versions newer than any that was decided and than any that the alias ever named: who goes back to an older one has the newer ones
//! left alone, whether those were decided or promoted by hand.

use std::sync::atomic::{AtomicBool, Ordering};

use millstream_base::error_chain;
use millstream_base::status::{EventKind, now_ms};
use millstream_stream::batch::Batch;
use serde_json::json;

use super::TrainError;
use super::compare::{UNITS_LEAST, compare_counted, goes_by, is_chosen_by_holdout};
use super::known::{Known, KnownModel};
use super::trainer::Trainer;
use crate::model::{IfBetter, Model, PromoteRule};
use crate::registry::{
    CHAMPION, ComparedOn, DecidedBy, Decision, FORMAT, Mover, Occasion, RegistryError, Remedy, Version, keep_decision,
    number_in, read_alias, read_decision,
};

const REASON_CHARS_MOST: usize = 500;
const ALWAYS: &str = "always";
const IF_BETTER: &str = "if_better";

/// What is decided of a version, and by what.
struct Judgement {
    promote: bool,
    reason: String,
    compared: Option<DecidedBy>,
}

impl Judgement {
    fn of(promote: bool, reason: impl Into<String>) -> Self {
        Self { promote, reason: reason.into(), compared: None }
    }
}

impl Trainer {
    /// Decides what can be decided now; `stop` is looked at between versions. What fails is said, and tried again by the next look; answered
    /// are the model and the reason of each that failed.
    pub(super) fn decide(&self, known: &mut Known, batches: &[Batch], stop: &AtomicBool) -> Vec<(String, String)> {
        let mut all_failed = Vec::new();
        for model in &self.models {
            let rule = match &model.promote {
                PromoteRule::Manual => continue,
                PromoteRule::Always => None,
                PromoteRule::IfBetter(rule) => Some(rule),
            };
            let of_model = known.models.entry(model.name.clone()).or_default();
            let failed = self.decide_of(of_model, model, rule, (batches, stop)).err();
            let reason = failed.map(|error| format!("no version is promoted: {}", error_chain(&error)));
            all_failed.extend(reason.iter().map(|reason| (model.name.clone(), reason.clone())));
            let problem = reason.map(|reason| format!("{}: {reason}", model.name));
            self.status.tell(&mut of_model.decided.problem, problem);
        }
        all_failed
    }

    /// `rule`: `None` promotes always.
    fn decide_of(
        &self,
        known: &mut KnownModel,
        model: &Model,
        rule: Option<&IfBetter>,
        (batches, stop): (&[Batch], &AtomicBool),
    ) -> Result<(), TrainError> {
        let is_open = |number: &u32| *number > known.decided.up_to && !known.decided.given_up.contains(number);
        let mut newer: Vec<u32> = known.recent().filter(is_open).collect();
        if newer.is_empty() {
            return Ok(());
        }
        let highest = self.highest_named(model)?;
        known.decided.up_to = known.decided.up_to.max(highest);
        newer.retain(|number| *number > highest);
        let mut open: Vec<u32> = Vec::new();
        for number in newer {
            match read_decision(&*self.store, &model.name, number) {
                Ok(None) => open.push(number),
                Ok(Some(decision)) => {
                    self.carry_out(known, &decision)?;
                    open.clear();
                }
                Err(error) if error.remedy() == Remedy::Retry => return Err(error.into()),
                Err(error) => self.give_up(known, model, number, &error.into()),
            }
        }
        let mut next = open.into_iter().peekable();
        while let Some(number) = next.next() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (after, champion) = self.champion(model)?;
            // Asked for after the record: who moves the alias between changes that.
            if number <= self.highest_named(model)? {
                continue;
            }
            // Of several it is the newest.
            let is_last = next.peek().is_none();
            let judged = match (champion, rule) {
                (None, _) | (_, None) if !is_last => continue,
                (None, _) => self.unopposed(known, model, number, "there was no champion"),
                (Some(_), None) => self.unopposed(known, model, number, "each new version is promoted"),
                (Some(champion), Some(rule)) => self.judge(known, model, rule, (champion, number), batches),
            };
            let Judgement { promote, reason, compared } = match judged {
                Ok(Some(judgement)) => judgement,
                Ok(None) | Err(TrainError::Registry(RegistryError::Removed { .. })) => continue,
                Err(error @ TrainError::Incomparable { .. }) => Judgement::of(false, error.to_string()),
                Err(error) if error.remedy() == Remedy::Retry => return Err(error),
                Err(error) => {
                    self.give_up(known, model, number, &error);
                    continue;
                }
            };
            let decision = Decision {
                format: FORMAT,
                model: model.name.clone(),
                version: number,
                rule: if rule.is_some() { IF_BETTER } else { ALWAYS }.to_owned(),
                promote,
                reason: reason.chars().take(REASON_CHARS_MOST).collect(),
                champion,
                after,
                compared,
                decided_at_ms: now_ms(),
            };
            // Where somebody has moved the alias meanwhile, the next look judges beside what it names now. Not the later ones first: once one of
            // them is decided, this one never is.
            if self.champion(model)?.0 != after {
                return Ok(());
            }
            // Another's, where that came first.
            let decision = keep_decision(&*self.store, &decision)?;
            let (said, data) = (if decision.promote { "is promoted" } else { "is not promoted" }, json!(decision));
            self.status.event(
                EventKind::VersionDecided,
                format!("{}@{number} {said}: {}", model.name, decision.reason),
                data,
            );
            self.carry_out(known, &decision)?;
        }
        Ok(())
    }

    /// The number of the alias's newest record, and what it names.
    fn champion(&self, model: &Model) -> Result<(u32, Option<u32>), RegistryError> {
        let (after, named) = self.mover(&model.name, &Occasion::default()).stands()?;
        Ok((after, named.map(|named| named.record.version)))
    }

    /// The highest version that any record of the alias names, 0 where none does. The newest promotion by a rule ends the search: it was of a
    /// version higher than all that were named before.
    fn highest_named(&self, model: &Model) -> Result<u32, RegistryError> {
        let prefix = format!("aliases/{}/{CHAMPION}/", model.name);
        let keys = self.store.list(&prefix)?;
        let mut numbers: Vec<u32> = keys.iter().filter_map(|key| number_in(key.strip_prefix(&prefix)?)).collect();
        numbers.sort_unstable();
        let mut highest = 0;
        for number in numbers.into_iter().rev() {
            let Some(record) = read_alias(&*self.store, &model.name, CHAMPION, number)? else { continue };
            highest = record.version.max(highest);
            let by_rule = record.by.as_deref().is_some_and(|by| [ALWAYS, IF_BETTER].contains(&by));
            if by_rule && !record.rolled_back {
                break;
            }
        }
        Ok(highest)
    }

    /// Promoted without a comparison, where it can be loaded.
    fn unopposed(
        &self,
        known: &mut KnownModel,
        model: &Model,
        number: u32,
        reason: &str,
    ) -> Result<Option<Judgement>, TrainError> {
        known.load(&*self.store, &model.name, number, &self.owner)?;
        Ok(Some(Judgement::of(true, reason)))
    }

    fn give_up(&self, known: &mut KnownModel, model: &Model, number: u32, error: &TrainError) {
        self.problem(&format!(
            "{}@{number}: whether it is promoted cannot be decided: {}",
            model.name,
            error_chain(error)
        ));
        known.decided.given_up.insert(number);
    }

    /// Versions are loaded before an alias is moved to them.
    fn mover<'a>(&'a self, model: &'a str, occasion: &'a Occasion) -> Mover<'a> {
        Mover { store: &*self.store, model, alias: CHAMPION, occasion, usable: &|_| Ok(()) }
    }

    fn carry_out(&self, known: &mut KnownModel, decision: &Decision) -> Result<(), TrainError> {
        if decision.promote {
            self.promote(known, decision)?;
        }
        known.decided.up_to = known.decided.up_to.max(decision.version);
        Ok(())
    }

    /// Moves the alias, unless somebody has moved it since.
    fn promote(&self, known: &mut KnownModel, decision: &Decision) -> Result<(), TrainError> {
        let Decision { model, version, rule, reason, after, .. } = decision;
        let occasion = Occasion { by: rule.clone(), reason: Some(reason.clone()), now_ms: now_ms() };
        let loaded = known.load(&*self.store, model, *version, &self.owner);
        match loaded.and_then(|_| self.mover(model, &occasion).promote_after(*version, *after)) {
            Ok(moved) if moved.before != Some(*version) => {
                let message = format!("{model}: {CHAMPION} names version {version}: {reason}");
                let data = json!({"model": model, "alias": CHAMPION, "version": version, "before": moved.before, "record": moved.record});
                self.status.event(EventKind::AliasMoved, message, data);
                Ok(())
            }
            // The alias names it already; or somebody moved it, or removed the version.
            Ok(_)
            | Err(
                RegistryError::MovedMeanwhile { .. }
                | RegistryError::Removed { .. }
                | RegistryError::RemovedMeanwhile { .. },
            ) => Ok(()),
            Err(error) if error.remedy() == Remedy::Retry => Err(error.into()),
            // Decided when it could be loaded still.
            Err(error) => {
                let error = error_chain(&error);
                self.problem(&format!("{model}@{version}: is to be promoted and cannot be: {error}"));
                Ok(())
            }
        }
    }

    /// `None`: it is not measured yet on what it is judged by.
    fn judge(
        &self,
        known: &mut KnownModel,
        model: &Model,
        rule: &IfBetter,
        (champion, number): (u32, u32),
        batches: &[Batch],
    ) -> Result<Option<Judgement>, TrainError> {
        let version = known.load(&*self.store, &model.name, number, &self.owner)?;
        let champion = known.load(&*self.store, &model.name, champion, &self.owner)?;
        let is_optimistic = |version: &Version| version.file.holdout.share <= 0.0 || is_chosen_by_holdout(version);
        let is_moved = rule.on == ComparedOn::Common && (is_optimistic(&version) || is_optimistic(&champion));
        let on = if is_moved { ComparedOn::NextBatch } else { rule.on };
        let batches = match on {
            // As when `common` was measured last: whoever decides has the same records.
            ComparedOn::Common if !known.common.versions.contains(&number) => return Ok(None),
            ComparedOn::Common => match batches.get(..known.common.batches as usize) {
                Some(measured) => measured,
                None => return Ok(None),
            },
            ComparedOn::NextBatch if batches.len() <= version.newest_batch().max(champion.newest_batch()) as usize => {
                return Ok(None);
            }
            ComparedOn::NextBatch => batches,
        };
        let (found, counts) =
            compare_counted(&*self.store, &self.schema, (&champion, &version), on, rule.level, batches)?;
        let only =
            if is_moved { "; held-out records had a say in one of both, so that common is not fair" } else { "" };
        let place = format!("on {} ({} {}){only}", on.name(), found.compared, found.units);
        if found.compared < UNITS_LEAST {
            let reason = format!("{place}: too few to decide by, {UNITS_LEAST} are the least");
            return Ok(Some(Judgement::of(false, reason)));
        }
        let wanted = |measure: &str| rule.measure.as_ref().is_none_or(|wanted| wanted == measure);
        let mut measures = found.measures.iter().zip(&counts);
        let Some((measure, n_units)) = measures.find(|(difference, _)| wanted(&difference.measure)) else {
            let name = rule.measure.as_deref().unwrap_or("measure");
            return Ok(Some(Judgement::of(false, format!("there is no {name} {place}"))));
        };
        if *n_units < UNITS_LEAST {
            let few = goes_by(&measure.measure, *n_units, found.units);
            let reason = format!("{place}: {few}, too few to decide by, {UNITS_LEAST} are the least");
            return Ok(Some(Judgement::of(false, reason)));
        }
        let promote = measure.b_is_better(rule.margin);
        let verdict = match (promote, measure.b_is_worse()) {
            (true, _) => "better by more than the margin",
            (false, true) => "worse",
            (false, false) => "not better by more than the margin and chance",
        };
        let reason = format!(
            "{} {:.5} beside {:.5} of version {}, {place}: {verdict}; difference {:.5}, {} % interval {:.5} to {:.5}, margin {}",
            measure.measure,
            measure.b,
            measure.a,
            champion.file.version,
            measure.difference,
            // 0.95 as 95.
            (rule.level * 1e6).round() / 1e4,
            measure.low,
            measure.high,
            rule.margin,
        );
        let compared = DecidedBy {
            on,
            batches: found.batches,
            compared: found.compared as u64,
            level: rule.level,
            margin: rule.margin,
            measure: measure.clone(),
        };
        Ok(Some(Judgement { promote, reason, compared: Some(compared) }))
    }
}
