//! `[[page]]`: a page of the pipeline's own, from a view, the catalogue, models or routes that are there.

use std::collections::BTreeSet;

use millstream_answer::views::View;
use millstream_base::{Faults, Keys, Section, Takes, did_you_mean, table_list};
use millstream_learn::Algorithm;
use millstream_model::model::{Action, Model};
use toml::{Table, Value};

use crate::serve::{Card, DeclaredPage, PageSubject, Route, Show};

pub const PAGE: Keys = Keys {
    known: &[
        ("name", Takes::Text),
        ("title", Takes::Text),
        ("show", Takes::ChoiceOf(|| Show::ALL.map(Show::name).to_vec())),
        ("view", Takes::Text),
        ("catalogue", Takes::Flag),
        ("model", Takes::Text),
        ("models", Takes::Texts),
        ("routes", Takes::Texts),
        ("card", Takes::Table),
    ],
    later: &[],
};
pub const CARD: Keys = Keys {
    known: &[("image", Takes::Text), ("title", Takes::Text), ("line", Takes::Text), ("more", Takes::Text)],
    later: &[],
};

/// More are no page, and no navigation.
const PAGES_MOST: usize = 20;
const SUBJECTS: [&str; 5] = ["view", "catalogue", "model", "models", "routes"];

/// What of the file a page may show.
pub struct Shown<'a> {
    pub models: &'a [Model],
    pub views: &'a [View],
    pub routes: &'a [Route],
    pub has_catalogue: bool,
}

pub fn pages(root: &Table, shown: &Shown<'_>, faults: &mut Faults) -> Vec<DeclaredPage> {
    let tables = table_list(root, "page", faults);
    if tables.len() > PAGES_MOST {
        faults.add("page", None, format!("at most {PAGES_MOST} pages, here are {}", tables.len()));
    }
    let mut names = BTreeSet::new();
    let mut pages = Vec::new();
    for (index, table) in tables.into_iter().enumerate().take(PAGES_MOST) {
        let label = match table.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
            Some(name) => format!("page.{name}"),
            None => format!("page[{}]", index + 1),
        };
        let section = Section::new(label, Some(table), &PAGE, faults);
        let name = name(&section, &mut names, faults);
        let subject = subject(&section, shown, faults);
        let show = show(&section, subject.as_ref(), faults);
        let card = card(&section, shown, faults);
        let (Some(name), Some(subject), Some(show)) = (name, subject, show) else { continue };
        let title = section.filled_text("title", faults).unwrap_or(&name).to_owned();
        pages.push(DeclaredPage { name, title, show, subject, card });
    }
    pages
}

fn name(section: &Section, names: &mut BTreeSet<String>, faults: &mut Faults) -> Option<String> {
    let name = section.required_text("name", "it is the page's URL, such as name = \"films\" for /p/films", faults)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > 100 || !name.chars().all(is_plain) {
        section.fault("name", "must be of at most 100 letters, digits, - and _: it stands in the page's URL", faults);
        return None;
    }
    if !names.insert(name.to_owned()) {
        section.fault("name", format!("another page is called `{name}`; choose another name"), faults);
        return None;
    }
    Some(name.to_owned())
}

fn subject(section: &Section, shown: &Shown<'_>, faults: &mut Faults) -> Option<PageSubject> {
    let given: Vec<&str> = SUBJECTS.into_iter().filter(|key| section.has(key)).collect();
    let [key] = given.as_slice() else {
        let found =
            if given.is_empty() { "none is given".to_owned() } else { format!("{} are given", given.join(" and ")) };
        section.fault(
            "view",
            format!("a page shows one of view, catalogue, model, models and routes; {found}"),
            faults,
        );
        return None;
    };
    let unknown = |what: &str, name: &str, known: Vec<&str>, faults: &mut Faults| {
        section.fault(key, format!("there is no {what} `{name}`{}", did_you_mean(name, known)), faults);
    };
    match *key {
        "view" => {
            let name = section.filled_text("view", faults)?;
            if shown.views.iter().all(|view| view.name != name) {
                unknown("view", name, shown.views.iter().map(|view| view.name.as_str()).collect(), faults);
                return None;
            }
            Some(PageSubject::View(name.to_owned()))
        }
        "catalogue" => {
            if !section.flag("catalogue", faults)? {
                section.fault("catalogue", "must be true: say what else the page shows, or remove it", faults);
                return None;
            }
            if !shown.has_catalogue {
                section.fault("catalogue", "this pipeline has no catalogue: add [catalogue], with from and id", faults);
                return None;
            }
            Some(PageSubject::Catalogue)
        }
        "routes" => {
            let paths = section.texts("routes", faults)?;
            let known = || shown.routes.iter().map(|route| route.path.as_str());
            let mut is_known = !paths.is_empty();
            for path in paths.iter().filter(|path| known().all(|known| known != *path)) {
                unknown("route", path, known().collect(), faults);
                is_known = false;
            }
            is_known.then_some(PageSubject::Routes(paths))
        }
        _ => {
            let names = match *key {
                "model" => vec![section.filled_text("model", faults)?.to_owned()],
                _ => section.texts("models", faults)?,
            };
            let known = || shown.models.iter().map(|model| model.name.as_str());
            let mut is_known = !names.is_empty();
            for name in names.iter().filter(|name| known().all(|known| known != *name)) {
                unknown("model", name, known().collect(), faults);
                is_known = false;
            }
            is_known.then_some(PageSubject::Models(names))
        }
    }
}

/// How it is shown; what suits the subject unless it is said.
fn show(section: &Section, subject: Option<&PageSubject>, faults: &mut Faults) -> Option<Show> {
    let choices = Show::ALL.map(|show| (show.name(), show));
    let said = section.choice("show", &choices, faults);
    if section.has("show") && said.is_none() {
        return None;
    }
    let suits: &[Show] = match subject? {
        PageSubject::View(_) => &[Show::Table, Show::Grid, Show::Chart],
        PageSubject::Catalogue => &[Show::Grid],
        PageSubject::Models(_) | PageSubject::Routes(_) => &[Show::Form, Show::Tabs],
    };
    let said = said.or(suits.first().copied())?;
    if !suits.contains(&said) {
        let names: Vec<&str> = suits.iter().map(|show| show.name()).collect();
        section.fault("show", format!("what this page shows is shown as {}", names.join(" or ")), faults);
        return None;
    }
    Some(said)
}

fn card(section: &Section, shown: &Shown<'_>, faults: &mut Faults) -> Card {
    let Some(table) = section.table("card", faults) else { return Card::default() };
    let card = Section::new(format!("{}.card", section.name()), Some(table), &CARD, faults);
    let text = |key: &str, faults: &mut Faults| card.filled_text(key, faults).map(str::to_owned);
    let more = text("more", faults);
    if let Some(more) = &more {
        let alike = |algorithm: Algorithm| Action::Similar.suits(algorithm);
        let known: Vec<&str> =
            shown.models.iter().filter(|model| alike(model.algorithm)).map(|model| model.name.as_str()).collect();
        if !known.contains(&more.as_str()) {
            let hint = did_you_mean(more, known);
            card.fault("more", format!("there is no model `{more}` that tells what is alike{hint}"), faults);
        }
    }
    Card { image: text("image", faults), title: text("title", faults), line: text("line", faults), more }
}
