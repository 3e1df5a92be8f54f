//! What is kept of a state, and how long.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_model::registry::Registry;
use millstream_store::LocalStore;
use tempfile::TempDir;

use super::*;

const PIPELINE: &str = r#"
[[table]]
name = "towns"
rows = [ { town = "Hull" }, { town = "Leeds" } ]
"#;

const SCHEMA: &str =
    r#"{"format":1,"schema":1,"columns":[{"name":"price","type":"float64","inferred":true,"null":[]}],"time":null}"#;

struct World {
    views: Arc<Views>,
    served: Arc<Served>,
    _folder: TempDir,
}

impl World {
    /// `script`: what answers SQL of requests.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(LocalStore::open(folder.path()).unwrap());
        store.create("schema/000001.json", SCHEMA.as_bytes()).unwrap();
        let mut faults = Faults::new("p.toml");
        let tables = keys::tables(&PIPELINE.parse().unwrap(), &mut faults);
        faults.finish().unwrap_or_else(|faults| panic!("{faults}"));
        let settings = ViewSettings {
            file: "p.toml".as_ref(),
            store: &StoreUrl::Local("store".into()),
            views: &[],
            tables: &tables,
            catalogue: None,
            models: &[],
            query: QueryLimits::default(),
        };
        let command = ProcessCommand { executable: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
        let views = Views::open(&settings, &store, command).unwrap_or_else(|faults| panic!("{faults}"));
        let served = Registry::open(store).unwrap().snapshot();
        Self { views: Arc::new(views), served, _folder: folder }
    }

    fn now(&self, is_readable: bool) -> Now {
        let batches = if is_readable { Ok(Arc::new([]) as _) } else { Err("the store is away".to_owned()) };
        Now { batches, catalogue: None, served: Arc::clone(&self.served) }
    }

    async fn ask(&self, sql: &str, is_readable: bool) -> Result<Arc<Rows>, AskError> {
        let asked = Asked { sql: sql.to_owned(), parameters: Parameters::new() };
        self.views.ask(asked, self.now(is_readable)).await
    }
}

#[tokio::test]
async fn one_read_of_the_store_that_fails_ends_no_answer_that_is_kept() {
    let world = World::new("exit 1");
    let (towns, records) = ("select town from towns order by town", "select count(*) as n from batches");
    let (of_towns, of_records) = (world.ask(towns, true).await.unwrap(), world.ask(records, true).await.unwrap());
    for _ in 0..2 {
        let without = world.ask(towns, false).await.unwrap();
        assert_eq!(without, of_towns, "who asks for no batches is answered");
        assert!(!Arc::ptr_eq(&without, &of_towns));
        assert_eq!(world.ask(records, false).await.unwrap_err().kind(), FaultKind::Unreadable);
        assert!(Arc::ptr_eq(&world.ask(towns, true).await.unwrap(), &of_towns));
        assert!(Arc::ptr_eq(&world.ask(records, true).await.unwrap(), &of_records));
    }
}

#[tokio::test]
async fn one_read_of_the_store_that_fails_ends_no_process() {
    // Each answers with its own number, as often as it is asked.
    let columns = r#"{"columns":["x"],"versions":[]}"#;
    let end = r#"{"is_cut":false,"is_worn":false}"#;
    let world = World::new(&format!(
        r#"printf '\002\000\000\000\000'; while head -c 39 >/dev/null; do printf '\007\000\000\000\000';
           printf '\003\{:03o}\000\000\000{columns}'; printf '\004\014\000\000\000["%08d"]' "$$"; printf '\005\{:03o}\000\000\000{end}'; done"#,
        columns.len(),
        end.len(),
    ));
    let process = async |is_readable: bool| {
        let question = Question { sql: "select 1".to_owned(), parameters: BTreeMap::new() };
        let answer = world.views.ask_apart(question, world.now(is_readable)).await.unwrap();
        answer.rows[0].get().to_owned()
    };
    let first = process(true).await;
    let without = [process(false).await, process(false).await];
    assert!(without[0] != without[1] && !without.contains(&first), "{without:?} answer one question each");
    assert_eq!(process(true).await, first);
    // Where there are two already, one makes room for such a question.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let two = async || loop {
        let (one, other) = tokio::join!(process(true), process(true));
        if one != other {
            return [one, other];
        }
        assert!(std::time::Instant::now() < end, "one process answers all");
    };
    let before = two().await;
    process(false).await;
    let after = two().await;
    let n_stayed = after.iter().filter(|process| before.contains(process)).count();
    assert_eq!(n_stayed, 1, "{before:?} {after:?}");
    world.views.stop();
}
