use std::time::Duration;

use millstream_learn::ParamValue;
use millstream_model::model::{Categorical, Missing, TrainOn, Unseen};
use millstream_store::StoreUrl;
use millstream_stream::batch::{BatchFormat, BatchRule, OnStop, WindowTime};
use millstream_stream::record::Encoding;
use millstream_stream::schema::Bad;
use millstream_stream::source::{Compression, Pace, SourceFormat, SourcePlace};

use super::*;
use crate::config::{BrokerChoice, Start};

fn pipeline(text: &str) -> crate::config::Pipeline {
    load(text, &Overrides::default()).unwrap().pipeline
}

#[test]
fn the_file_is_shown_without_its_secrets() {
    let text = "[stream]\n\"bootstrap.servers\" = \"kafka:9093\"\nsasl.password = 'hunter2' # mine\n# sasl.username = \"hunter2\"\n";
    let shown = pipeline(text).serve_settings().file;
    assert!(shown.contains("kafka:9093") && shown.contains("sasl.password = \"…\""), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_short_file_has_the_documented_defaults() {
    let pipeline = pipeline("");
    let source = pipeline.source.as_ref().unwrap();
    assert_eq!((&source.pace, &source.key, &source.order_by, source.seed), (&Pace::FullSpeed, &None, &None, 1));
    assert_eq!((source.csv.separator.as_str(), source.csv.quote, source.csv.header), (",", Some(b'"'), 1));
    assert_eq!((pipeline.stream.encoding, pipeline.stream.start), (Encoding::Json, Start::Earliest));
    assert_eq!((pipeline.batch.idle, pipeline.batch.format), (None, BatchFormat::Parquet));
    assert_eq!((pipeline.stream.topic.as_str(), pipeline.stream.partitions), ("p", None));
    let data = "millstream-data/topic".into();
    assert_eq!(
        pipeline.stream.broker,
        BrokerChoice::Embedded { listen: "127.0.0.1:9092".parse().unwrap(), advertise: None, data }
    );
    assert_eq!((pipeline.batch.limit, pipeline.batch.max_rejects, pipeline.batch.on_stop), (None, None, OnStop::Park));
    assert_eq!(pipeline.store, StoreUrl::Local("millstream-data".into()));
    assert!((pipeline.train.holdout - 0.1).abs() < 1e-12);
    assert_eq!(pipeline.serve.listen, "127.0.0.1:8080".parse().unwrap());
}

#[test]
fn a_store_may_be_a_bucket() {
    let store = |url: &str| pipeline(&format!("[store]\nurl = \"{url}\"")).store;
    let bucket = |prefix: &str| StoreUrl::S3 { bucket: "b.1".into(), prefix: prefix.into() };
    assert_eq!(store("s3://b.1"), bucket(""));
    assert_eq!(store("s3://b.1/"), bucket(""));
    assert_eq!(store("s3://b.1/a/ü=1/"), bucket("a/ü=1"));
    assert_eq!(bucket("a/b").to_string(), "s3://b.1/a/b");
}

#[test]
fn the_topic_lies_beside_its_batches() {
    let broker = |lines: &str| pipeline(lines).stream.broker;
    let embedded = |data: &str| BrokerChoice::Embedded {
        listen: "127.0.0.1:9092".parse().unwrap(),
        advertise: None,
        data: data.into(),
    };
    assert_eq!(broker("[store]\nurl = \"file:/tmp/x\""), embedded("/tmp/x/topic"));
    assert_eq!(broker("[store]\nurl = \"file:///tmp/x\"\n[stream]\ndata = \"log\""), embedded("log"));
    assert_eq!(broker("[stream]\nbootstrap.servers = \"a:1, b\""), BrokerChoice::Servers("a:1, b".into()));
}

#[test]
fn delays_are_read() {
    let pace = |delay: &str| pipeline(&format!("[source]\npath = \"r.csv\"\ndelay = \"{delay}\"")).source.unwrap().pace;
    let ms = Duration::from_millis;
    assert_eq!(pace("5ms"), Pace::Fixed(ms(5)));
    assert_eq!(pace("1.5s"), Pace::Fixed(ms(1500)));
    assert_eq!(pace("2m"), Pace::Fixed(ms(120_000)));
    assert_eq!(pace("0ms"), Pace::FullSpeed);
    assert_eq!(pace("0ms..5ms"), Pace::Uniform { low: ms(0), high: ms(5) });
    assert_eq!(pace("0.1s..1s"), Pace::Uniform { low: ms(100), high: ms(1000) });
    assert_eq!(pace("5ms..5ms"), Pace::Fixed(ms(5)));
}

#[test]
fn a_path_says_where_the_source_lies_and_what_it_is() {
    let check = |lines: &str, place: SourcePlace, format: SourceFormat, compression: Compression| {
        let source = pipeline(&format!("[source]\n{lines}")).source.unwrap();
        assert_eq!((source.place, source.format, source.compression), (place, format, compression), "{lines}");
    };
    let file = |path: &str| SourcePlace::File(path.into());
    use SourceFormat::{Csv, Jsonl, Parquet};
    check("path = \"r.csv\"", file("r.csv"), Csv, Compression::None);
    check("path = \"r.txt.gz\"", file("r.txt.gz"), Csv, Compression::Gzip);
    check("path = \"R.JSONL.ZST\"", file("R.JSONL.ZST"), Jsonl, Compression::Zstd);
    check("path = \"r.ndjson\"", file("r.ndjson"), Jsonl, Compression::None);
    check("path = \"r.parquet\"", file("r.parquet"), Parquet, Compression::None);
    check("path = \"r.dat\"\nformat = \"jsonl\"", file("r.dat"), Jsonl, Compression::None);
    check("path = \"-\"\nformat = \"jsonl\"", SourcePlace::Stdin, Jsonl, Compression::None);
    check("path = \"s3://b/a/r.csv.gz\"", SourcePlace::S3("s3://b/a/r.csv.gz".to_owned()), Csv, Compression::Gzip);
}

#[test]
fn a_source_has_its_pace_key_and_order() {
    let text = "[source]\npath = \"r.csv\"\nspeed = 60\nkey = \"id\"\norder_by = \"t\"\n[schema]\ntime = \"t\"";
    let source = pipeline(text).source.unwrap();
    assert_eq!(source.pace, Pace::Speed(60.0));
    assert_eq!((source.key.as_deref(), source.order_by.as_deref()), (Some("id"), Some("t")));
}

#[test]
fn a_column_is_made_and_cleaned_as_the_schema_says() {
    let text =
        "[schema.columns]\na = { type = \"float64\", from = \"replace(b, ',', '')\", bad = \"null\" }\nb = \"utf8\"";
    let columns = pipeline(text).schema.columns;
    assert_eq!((columns["a"].from.as_deref(), columns["a"].bad), (Some("replace(b, ',', '')"), Bad::Null));
    assert_eq!((columns["b"].from.as_deref(), columns["b"].bad), (None, Bad::Reject));
}

#[test]
fn a_pipeline_without_a_source_listens() {
    let text = "name = \"p\"\n[batch]\nrows = 5\n[stream]\nstart = \"latest\"\nencoding = \"csv\"\npartitions = 3";
    let pipeline = load_text(Path::new("p.toml"), text, &Overrides::default()).unwrap().pipeline;
    assert_eq!(pipeline.source, None);
    assert_eq!((pipeline.stream.start, pipeline.stream.encoding), (Start::Latest, Encoding::Csv));
    assert_eq!(pipeline.stream.partitions, Some(3.try_into().unwrap()));
}

#[test]
fn properties_keep_their_own_names() {
    let stream =
        pipeline("[stream]\n\"linger.ms\" = 20\ncompression.type = \"lz4\"\nsocket.keepalive.enable = true\n").stream;
    let found: Vec<_> = stream.properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(found, [("compression.type", "lz4"), ("linger.ms", "20"), ("socket.keepalive.enable", "true")]);
}

#[test]
fn a_model_is_read_whole() {
    let text = r#"
train_on = { batches = [3, 1] }
features = ["Open", "Town/City"]
where = "Close is not null"
params = { l2 = 1 }
categorical = { "Town/City" = { max = 50, unseen = "error" } }
missing = "median"
output = "exp(prediction)"
baseline = "Open"
seed = 9
"#;
    let model = pipeline(&format!("[batch]\nparts = 3\n{}", model(text))).models.remove(0);
    assert_eq!(model.train_on, TrainOn::Batches(vec![1, 3]));
    let columns = supervised(&model);
    assert_eq!(columns.categorical["Town/City"], Categorical { max: 50, unseen: Unseen::Error });
    assert_eq!((columns.missing, model.seed), (Missing::Median, 9));
    assert_eq!(columns.baseline.as_deref(), Some("Open"));
}

#[test]
fn a_text_has_every_parameter_of_its_words() {
    let text = "algorithm = \"logistic_regression\"\nfeatures = [\"Plot\"]\ntext = { Plot = { max_documents = 1 } }\n";
    let found = pipeline(&model(text)).models.remove(0);
    let rule = &supervised(&found).text["Plot"].0;
    let shown: Vec<String> = rule.iter().map(|(name, value)| format!("{name} {value:?}")).collect();
    assert_eq!(
        shown,
        [
            "max_documents Integer(1)",
            "min_documents Integer(1)",
            "stem Text(\"none\")",
            "stop_words Text(\"none\")",
            "terms Integer(2000)"
        ]
    );
}

#[test]
fn a_route_answers_get_and_post_in_the_order_of_its_template() {
    let route = "[[route]]\npath = \"/a/{open}\"\nmodel = \"m\"\ninput = { Open = \"open\" }\n\
                 response = { z = \"prediction\", a = \"open\" }\nbody = \"row\"\naction = \"predict\"\n";
    let route = pipeline(&(model("") + route)).routes.remove(0);
    assert!(route.get && route.post);
    assert_eq!(route.response.unwrap().to_string(), r#"{"z":"prediction","a":"open"}"#);
}

#[test]
fn the_rules_of_a_batch_are_read() {
    assert_eq!(pipeline("[batch]\nrows = 2_330_000").batch.rule, BatchRule::Rows(2_330_000.try_into().unwrap()));
    assert_eq!(pipeline("[batch]\nparts = 3").batch.rule, BatchRule::Parts(3.try_into().unwrap()));
    let window = |lines: &str| pipeline(&format!("[batch]\nwindow = {lines}\n[schema]\ntime = \"t\"")).batch;
    let of = |ms: u64, time| BatchRule::Window { length_ms: ms.try_into().unwrap(), time };
    assert_eq!(window("\"1.5s\"").rule, of(1500, WindowTime::Arrival));
    assert_eq!(window("\"5m\"\ntime = \"event\"").rule, of(300_000, WindowTime::Event));
    let batch = window("\"1d\"\nidle = \"30s\"\nformat = \"jsonl\"");
    assert_eq!((batch.rule, batch.idle), (of(86_400_000, WindowTime::Arrival), Some(Duration::from_secs(30))));
    assert_eq!(batch.format, BatchFormat::Jsonl);
}

#[test]
fn a_model_of_ratings_is_read_whole_and_names_its_ids() {
    let text = r#"
[[model]]
name = "taste"
algorithm = "als"
user = "userId"
item = "cast(movieId as bigint)"
rating = "rating"
time = "timestamp"
group = "device"
scale = [0.5, 5]
relevant = 4
[[model]]
name = "watched"
algorithm = "als"
user = "userId"
item = "movieId"
"#;
    let pipeline = pipeline(text);
    let Columns::Ratings(columns) = &pipeline.models[0].columns else { panic!("{:?}", pipeline.models[0]) };
    assert_eq!((columns.user.as_str(), columns.item.as_str()), ("userId", "cast(movieId as bigint)"));
    assert_eq!((columns.rating.as_deref(), columns.time.as_deref()), (Some("rating"), Some("timestamp")));
    assert_eq!(
        (columns.scale, columns.relevant, columns.group.as_deref()),
        (Some((0.5, 5.0)), Some(4.0), Some("device"))
    );
    assert!(pipeline.models[0].params.is_empty());
    // Without a rating feedback is implicit.
    assert_eq!(pipeline.models[1].params["feedback"], ParamValue::Text("implicit".to_owned()));
    assert!(["userId", "movieId"].iter().all(|name| pipeline.schema.ids.contains(*name)));
    assert!(!pipeline.schema.ids.contains("rating") && pipeline.schema.times.contains("timestamp"));
}
