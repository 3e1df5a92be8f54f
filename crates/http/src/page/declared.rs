//! `[[page]]` of the pipeline file: the same forms, grids and tables as everywhere, of what the file names.

use maud::{Markup, html};

use super::values::{self, Query, encode};
use super::{Made, Page, ask, items};
use crate::serve::{ApiError, Asker, DeclaredPage, PageSubject, Show};

/// The chosen tab, by its place from 0.
const TAB: &str = "_tab";

pub async fn page(asker: &Asker<'_>, name: &str, query: &Query) -> Made {
    let pages = &asker.app.context.settings.pages;
    let Some(page) = pages.iter().find(|page| page.name == name) else {
        let known: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        let known = match known.is_empty() {
            true => "the pipeline file has no [[page]]".to_owned(),
            false => format!("known: {}", known.join(", ")),
        };
        return Err(ApiError::not_found("unknown_page", format!("there is no page of this name; {known}")));
    };
    let here = format!("/p/{}", page.name);
    let inner = match &page.subject {
        PageSubject::Catalogue => items::list_of(asker, &here, query, &page.card).await?,
        PageSubject::View(view) => {
            let card = (page.show == Show::Grid).then_some(&page.card);
            ask::view_form(asker, view, &here, query, card, page.show == Show::Chart).await?
        }
        PageSubject::Models(models) if page.show == Show::Tabs => {
            let (tab, url) = tab(&here, query, models.len());
            let chosen = models.get(tab).map_or("", String::as_str);
            let inner = ask::of_model(asker, chosen, &url, &query_of_tab(query)).await?;
            html! { (tabs(&here, models.iter().map(String::clone), tab)) (inner) }
        }
        PageSubject::Models(models) => match models.as_slice() {
            [model] => ask::of_model(asker, model, &here, query).await?,
            models => ask::rows(asker, models, &here, query).await?,
        },
        PageSubject::Routes(routes) => routes_form(asker, page, routes, &here, query).await?,
    };
    let body = html! { h1 { (page.title) } (inner) };
    Ok(Page::new(&page.title, here, body))
}

async fn routes_form(
    asker: &Asker<'_>,
    page: &DeclaredPage,
    routes: &[String],
    here: &str,
    query: &Query,
) -> Result<Markup, ApiError> {
    if page.show == Show::Tabs {
        let (tab, url) = tab(here, query, routes.len());
        let chosen = routes.get(tab).map_or("", String::as_str);
        let inner = ask::operation(asker, chosen, &url, &query_of_tab(query)).await?;
        return Ok(html! { (tabs(here, names(routes), tab)) (inner) });
    }
    let mut forms = Vec::new();
    for (place, route) in routes.iter().enumerate() {
        let (tab, url) = (query.get(TAB).and_then(|text| text.parse().ok()), format!("{here}?{TAB}={place}"));
        // Of several forms on one page, one was sent.
        let own = if tab == Some(place) { query_of_tab(query) } else { Query::default() };
        forms.push((route, ask::operation(asker, route, &url, &own).await?));
    }
    Ok(html! { @for (route, form) in &forms { section { h2 { code { (route) } } (form) } } })
}

fn tab(here: &str, query: &Query, n_tabs: usize) -> (usize, String) {
    let tab: usize = query.get(TAB).and_then(|text| text.parse().ok()).unwrap_or_default();
    let tab = tab.min(n_tabs.saturating_sub(1));
    (tab, format!("{here}?{TAB}={tab}"))
}

fn query_of_tab(query: &Query) -> Query {
    query.without(TAB)
}

/// Paths as people say them: `/predict/high_low` beside `/predict/close` is "High low". Parameters say nothing.
fn names(routes: &[String]) -> impl Iterator<Item = String> {
    let segments = |route: &str| -> Vec<String> {
        let words = route.split('/').filter(|segment| !segment.is_empty() && !segment.starts_with('{'));
        words.map(|segment| segment.replace(['_', '-'], " ")).collect()
    };
    let all: Vec<Vec<String>> = routes.iter().map(|route| segments(route)).collect();
    let first = all.first().cloned().unwrap_or_default();
    let is_common = |place: &usize| routes.len() > 1 && all.iter().all(|own| own.get(*place) == first.get(*place));
    let common = (0..first.len()).take_while(is_common).count();
    routes.iter().zip(all).map(move |(route, own)| {
        let name = own.get(common..).unwrap_or_default().join(" ");
        let mut letters = name.chars();
        match letters.next() {
            Some(first) => first.to_uppercase().chain(letters).collect(),
            None => route.clone(),
        }
    })
}

fn tabs(here: &str, names: impl Iterator<Item = String>, chosen: usize) -> Markup {
    html! {
        nav .tabs aria-label="Forms" {
            @for (place, name) in names.enumerate() {
                a href=(values::target(here, &format!("{TAB}={}", encode(&place.to_string())))) aria-current=[(place == chosen).then_some("true")] { (name) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_of_routes_are_named_by_where_their_paths_part() {
        let told = |routes: &[&str]| -> Vec<String> {
            names(&routes.iter().map(|route| (*route).to_owned()).collect::<Vec<_>>()).collect()
        };
        assert_eq!(
            told(&["/predict/close", "/predict/high_low", "/predict/{x}/up-or-down"]),
            ["Close", "High low", "Up or down"]
        );
        // Two that part in a parameter alone are said whole, and so is one.
        assert_eq!(told(&["/a/{x}", "/a/{y}/{z}"]), ["/a/{x}", "/a/{y}/{z}"]);
        assert_eq!(told(&["/predict/trend"]), ["Predict trend"]);
    }
}
