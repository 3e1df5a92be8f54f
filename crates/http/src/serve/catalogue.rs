//! `/v1/catalogue`: the items, found by words, facets and filters, in pages.
//!
//! A facet may be given several times, and then takes the items that have any of its values; different facets, `q` and
//! `filter` narrow together. (`genre=Drama,Comedy` is one value: values may have commas in them.) What is asked for is
//! computed off the serving threads.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use millstream_answer::catalogue::{
    Catalogue, CatalogueRules, FilterError, ImageFault, Kind, Query, Sort, Unfit, is_url, placeholder,
};
use millstream_learn::Id;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::app::App;
use super::error::{ApiError, hint, quote};
use super::predict::{blocking, reading};
use super::template::Room;
use super::{ImagesFrom, reply, rows};

const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1000;
/// A longer text is no title that anyone looks for.
const SEARCH_CHARS_MOST: usize = 500;
/// More columns decide nothing.
const SORT_COLUMNS_MOST: usize = 4;
/// A picture may be kept so long by who has it, and a drawn one until there may be another.
const PICTURE_SECONDS: u32 = 3600;
const DRAWN_SECONDS: u32 = 60;
/// So many pictures are read at once: each may take 16 MiB, and as long as the store.
static PICTURES: Semaphore = Semaphore::const_new(PICTURES_MOST);
const PICTURES_MOST: usize = 16;
/// Who waits longer for a place is told to ask again.
const PICTURES_WAIT: Duration = Duration::from_secs(20);
const PARAMETERS: [&str; 5] = ["q", "filter", "sort", "limit", "offset"];

/// What was asked, not yet compared with what the catalogue has.
#[derive(Debug)]
struct Asked {
    search: Option<String>,
    filter: Option<String>,
    sort: Option<String>,
    limit: usize,
    offset: usize,
    facets: BTreeMap<String, Vec<String>>,
}

fn catalogue_now(app: &App) -> Result<Arc<Catalogue>, ApiError> {
    loaded(app)?.ok_or_else(|| {
        let message =
            "this pipeline has no catalogue: add [catalogue] to its file, with from and id, and start it again";
        ApiError::not_found("no_catalogue", message)
    })
}

/// The items, where the pipeline has a catalogue. At a start its batches are read behind the first answers.
pub fn loaded(app: &App) -> Result<Option<Arc<Catalogue>>, ApiError> {
    let Some(catalogues) = &app.context.catalogue else { return Ok(None) };
    if catalogues.is_loading() {
        return Err(ApiError::loading("the catalogue is still being read from the batches"));
    }
    Ok(Some(catalogues.snapshot()))
}

pub async fn list(app: &Arc<App>, query: &str) -> Result<Response<Body>, ApiError> {
    let catalogue = catalogue_now(app)?;
    let facets = facet_names(app);
    let asked = Asked::parse(query, &facets)?;
    blocking(move || Ok(reply::json(StatusCode::OK, &answer(&catalogue, asked, &facets)?))).await
}

pub async fn item(app: &Arc<App>, id: &str) -> Result<Response<Body>, ApiError> {
    let catalogue = catalogue_now(app)?;
    let row = catalogue.row(Id::Text(id)).ok_or_else(|| unknown_item(id, &catalogue))?;
    Ok(reply::json(StatusCode::OK, &Value::Object(catalogue.item(row))))
}

fn unknown_item(id: &str, catalogue: &Catalogue) -> ApiError {
    let message = format!("there is no item {} in the catalogue, which has {}", quote(id), catalogue.len());
    ApiError::not_found("unknown_item", message)
}

/// The item's picture, wherever it is; or one that is drawn, for an item without.
pub async fn image(app: &Arc<App>, id: &str) -> Result<Response<Body>, ApiError> {
    let catalogue = catalogue_now(app)?;
    let row = catalogue.row(Id::Text(id)).ok_or_else(|| unknown_item(id, &catalogue))?;
    let title = catalogue.title(row).unwrap_or(id).to_owned();
    let name = match (catalogue.image(row), &app.context.images) {
        (Some(url), _) if is_url(url) => match app.context.settings.serve.images {
            ImagesFrom::Anywhere => return Ok(reply::elsewhere(url)),
            ImagesFrom::Here => None,
        },
        (Some(name), Some(images)) => Some((name.to_owned(), Arc::clone(images))),
        (Some(_), None) | (None, _) => None,
    };
    let Some((name, images)) = name else { return Ok(reply::picture(placeholder(&title), DRAWN_SECONDS)) };
    let Ok(Ok(place)) = timeout(PICTURES_WAIT, PICTURES.acquire()).await else {
        return Err(ApiError::busy("other pictures are read"));
    };
    let read = reading(move || {
        let read = images.read(&name);
        drop(place);
        Ok(read)
    });
    let read = read.await?;
    match read {
        Ok(picture) => Ok(reply::picture(picture, PICTURE_SECONDS)),
        Err(ImageFault::Missing) => Ok(reply::picture(placeholder(&title), DRAWN_SECONDS)),
        // The data names what may not be served; who asks for a picture can do nothing about it.
        Err(fault @ ImageFault::Name { .. }) => {
            tracing::warn!(item = id, %fault, "a picture is not served");
            Ok(reply::picture(placeholder(&title), DRAWN_SECONDS))
        }
        Err(ImageFault::Store(error)) => {
            tracing::error!(item = id, %error, "a picture cannot be read");
            Err(ApiError::unavailable("store", "the pictures cannot be read at the moment"))
        }
    }
}

/// As the file has them: known before the first batch is.
pub fn facet_names(app: &App) -> Vec<String> {
    let rules: Option<&CatalogueRules> = app.context.settings.catalogue.as_ref();
    rules.map_or(Vec::new(), |rules| rules.facets.clone())
}

impl Asked {
    fn parse(query: &str, facets: &[String]) -> Result<Self, ApiError> {
        let mut asked =
            Self { search: None, filter: None, sort: None, limit: LIMIT, offset: 0, facets: BTreeMap::new() };
        let mut given: Vec<String> = Vec::new();
        for (name, text) in rows::parse_pairs(query)? {
            if facets.contains(&name) {
                asked.facets.entry(name).or_default().push(text);
                continue;
            }
            if given.contains(&name) {
                return Err(rows::repeated(&name));
            }
            let count = |most: Option<usize>| {
                let got =
                    |error: ApiError| ApiError { message: format!("{}, got {}", error.message, quote(&text)), ..error };
                rows::parse_count(&name, &text, most).map_err(got)
            };
            match name.as_str() {
                "q" if text.chars().count() > SEARCH_CHARS_MOST => {
                    let message = format!("q: at most {SEARCH_CHARS_MOST} characters are looked for");
                    return Err(ApiError::value("bad_value", "q", message));
                }
                "q" => asked.search = Some(text),
                "filter" => asked.filter = Some(text).filter(|text| !text.trim().is_empty()),
                "sort" => asked.sort = Some(text).filter(|text| !text.trim().is_empty()),
                "limit" => asked.limit = count(Some(LIMIT_MAX))?,
                "offset" => asked.offset = count(None)?,
                _ => {
                    let known = PARAMETERS.into_iter().chain(facets.iter().map(String::as_str));
                    return Err(ApiError::unknown_parameter(&name, known));
                }
            }
            given.push(name);
        }
        Ok(asked)
    }

    /// As the catalogue understands it.
    fn query(self, catalogue: &Catalogue) -> Result<Query, ApiError> {
        let mut query = Query { search: self.search, offset: self.offset, limit: self.limit, ..Query::default() };
        for (place, facet) in catalogue.facets().iter().enumerate() {
            let Some(texts) = self.facets.get(&facet.name) else { continue };
            let choice = facet.choose(place, texts).map_err(|Unfit { text, expected }| {
                let message = format!("{}: expected {expected}, got {}", facet.name, quote(&text));
                ApiError::value("bad_value", &facet.name, message)
            });
            query.choices.push(choice?);
        }
        query.sort = self.sort.map(|text| sort(&text, catalogue)).transpose()?.unwrap_or_default();
        // Last, for it may take longest.
        query.filter = self.filter.map(|text| catalogue.filter(&text).map_err(filter_fault)).transpose()?;
        Ok(query)
    }
}

/// What a client is told of a filter that is none.
pub fn filter_fault(error: FilterError) -> ApiError {
    match error {
        FilterError::Syntax(_) | FilterError::Unfit { .. } | FilterError::TooSlow { .. } => {
            ApiError::value("bad_filter", "filter", format!("filter: {error}"))
        }
        FilterError::Busy => ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..ApiError::value("busy", "filter", format!("filter: {error}"))
        },
        FilterError::Broken(reason) => {
            tracing::error!(reason, "a filter cannot be computed");
            ApiError::internal("the filter cannot be computed; the server's log says why")
        }
    }
}

/// `-year,title`: by year from the newest, then by title.
fn sort(text: &str, catalogue: &Catalogue) -> Result<Vec<Sort>, ApiError> {
    let fault = |message: String| ApiError::value("bad_value", "sort", format!("sort: {message}"));
    let columns = catalogue.columns();
    let n_columns = text.split(',').count();
    if n_columns > SORT_COLUMNS_MOST {
        return Err(fault(format!("at most {SORT_COLUMNS_MOST} columns, got {n_columns}")));
    }
    let sorts = text.split(',').map(str::trim).map(|name| {
        let (name, descending) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
        let Some(column) = columns.iter().position(|column| column == name) else {
            let hint = hint(name, columns.iter().map(String::as_str));
            return Err(fault(format!("there is no column {}{hint}", quote(name))));
        };
        match catalogue.kind(column) {
            Kind::One(_) => Ok(Sort { column, descending }),
            Kind::List(_) => Err(fault(format!("{name} is a list, and lists have no order; sort by another column"))),
        }
    });
    sorts.collect()
}

fn answer(catalogue: &Catalogue, asked: Asked, facets: &[String]) -> Result<Value, ApiError> {
    if catalogue.waits() {
        let facets: Map<String, Value> = facets.iter().map(|name| (name.clone(), json!([]))).collect();
        return Ok(json!({"items": [], "total": 0, "facets": facets}));
    }
    let page = catalogue.page(&asked.query(catalogue)?);
    let mut room = Room::default();
    let items = page.rows.iter().map(|row| room.taken(Value::Object(catalogue.item(*row))));
    let items = items.collect::<Result<Vec<Value>, ApiError>>()?;
    let counted = page.facets.into_iter().map(|(name, values)| {
        let values: Value = values.into_iter().map(|(value, count)| json!({"value": value, "count": count})).collect();
        (name, values)
    });
    Ok(json!({"items": items, "total": page.total, "facets": counted.collect::<Map<_, _>>()}))
}
