use super::*;

#[test]
fn expressions_are_compiled_against_the_columns() {
    check_schema(&model(""), "");
    check_schema(
        &model("features = [\"Opne\", \"Volume\"]"),
        "model.m.features = \"Opne\": unknown column `Opne`; did you mean `Open`?",
    );
    check_schema(
        &(model("where = \"Open\"\nbaseline = \"\\\"Town/City\\\"\"\noutput = \"exp(predicton)\"")),
        "model.m.where = \"Open\": must be true or false, and is a number; compare it with something
        model.m.baseline = '\"Town/City\"': must be what the target is, a number, and is text
        model.m.output = \"exp(predicton)\": unknown column `predicton`; did you mean `prediction`?; it sees one column, `prediction`",
    );
    check_schema(
        "[schema]\ntime = \"Timestmap\"\ncolumns = { Clsoe = \"utf8\" }\n",
        "schema.time = \"Timestmap\": no such column; did you mean `Timestamp`?
        schema.columns.Clsoe: no such column; did you mean `Close`?",
    );
}

#[test]
fn types_must_fit_the_algorithm() {
    check_schema(
        &model("target = \"Close > Open\"\nfeatures = [\"Volume\"]"),
        "model.m.target = \"Close > Open\": is true or false: linear_regression predicts a number; cast it to double, or use logistic_regression for classes",
    );
    for algorithm in ["logistic_regression", "random_forest"] {
        let text = format!("algorithm = \"{algorithm}\"\ntarget = \"Close > Open\"\nfeatures = [\"Volume\"]");
        check_schema(&model(&text), "");
    }
    check_schema(&model("features = [\"Volume\", \"Town/City\"]"), "");
    check_schema(
        &model(
            "algorithm = \"random_forest\"\ntarget = \"Close > Open\"\nfeatures = [\"Volume\"]\noutput = \"prediction\"",
        ),
        "model.m.output = \"prediction\": is for numbers, and this model predicts a class; remove it",
    );
}

#[test]
fn only_a_text_has_words_and_they_need_a_penalty() {
    check_schema(
        &model(
            "features = [\"Volume\", \"Town/City\"]\ntext = { Volume = {}, \"Town/City\" = {} }\nparams = { l2 = 1 }",
        ),
        "model.m.text = \"Volume\": only a text has words, and this is a number; remove it",
    );
    let warning = "warning: model.m.text.Town/City: has a weight for each word and no penalty, so the model may learn its rows by heart; set l2 above 0, such as params = { l2 = 1.0 }";
    let by_words =
        |lines: &str| model(&format!("features = [\"Town/City\"]\ntext = {{ \"Town/City\" = {{}} }}\n{lines}"));
    check_schema(&by_words(""), warning);
    check_schema(&by_words("params = { l2 = 0.5 }"), "");
    let logistic = "algorithm = \"logistic_regression\"\ntarget = \"Close > Open\"\n";
    check_schema(&by_words(logistic), "");
    check_schema(&by_words(&format!("{logistic}params = {{ l2 = 0 }}")), warning);
}

#[test]
fn users_items_and_ratings_are_of_their_types() {
    let als = |lines: &str, expected: &str| {
        check_schema(&format!("[[model]]\nname = \"m\"\nalgorithm = \"als\"\n{lines}\n"), expected);
    };
    als("user = \"Timestamp\"\nitem = \"Town/City\"\nrating = \"Close\"\ntime = \"Timestamp\"", "");
    als("user = \"Timestamp\"\nitem = \"concat(\\\"Town/City\\\", '!')\"", "");
    als(
        "user = \"Open\"\nitem = \"Town/City\"",
        "warning: model.m.user = \"Open\": has numbers with fractions by its type: whole ones up to 2^53 are taken as ids, other rows are left out; to keep larger ones, make the column int64 in [schema.columns]",
    );
    als(
        "user = \"Open > 1\"\nitem = \"1\"\nrating = \"Town/City\"\ntime = \"Open > 1\"\nwhere = \"Open\"\ngroup = \"grop\"",
        "model.m.user = \"Open > 1\": must be a whole number or text, and is true or false; cast it, as in cast(… as bigint) or cast(… as text)
        model.m.item = \"1\": reads no column: it is the same for every row
        model.m.rating = \"Town/City\": must be a number, and is text; cast it, as in cast(… as double)
        model.m.time = \"Open > 1\": must be an epoch number, a timestamp or its text, and is true or false
        model.m.group = \"grop\": unknown column `grop`; a text value goes in 'single quotes', a column whose name is no plain word in \"double quotes\"
        model.m.where = \"Open\": must be true or false, and is a number; compare it with something",
    );
    als(
        "user = \"Timestamp\"\nitem = \"Timestamp\"",
        "model.m.item = \"Timestamp\": is what user is; name the column of what was rated",
    );
}

#[test]
fn a_leak_is_a_warning() {
    check_schema(
        &model(
            "algorithm = \"logistic_regression\"\nfeatures = [\"Open\", \"Close\"]\ntarget = \"case when Close > Open then 'Up' else 'Down' end\"",
        ),
        "warning: model.m.target = \"case when Close > Open then 'Up' else 'Down' end\": the target can be computed from the features alone: a leak; the model learns a formula, and its measures say nothing",
    );
}

#[test]
fn routes_are_checked_against_the_columns() {
    let route = |lines: &str| {
        model("features = [\"abs(Close - Open)\"]\ntarget = \"High\"") + "[[route]]\nmodel = \"m\"\n" + lines
    };
    check_schema(&route("path = \"/r\"\ninput = { Open = \"open\" }\nresponse = { a = \"open\", b = \"Close\" }"), "");
    check_schema(
        &route("path = \"/{abs}\""),
        "route[/{abs}].path = \"/{abs}\": no model takes the parameter `abs`; map a column to it with input",
    );
    check_schema(
        &route("path = \"/r\"\nresponse = { a = \"abs\" }"),
        "route[/r].response.a = \"abs\": names neither an output nor a request parameter; allowed are prediction, model, version, warnings, Close, Open",
    );
    check_schema(
        &(model("algorithm = \"random_forest\"")
            + "[[route]]\npath = \"/r\"\nmodel = \"m\"\nresponse = { a = \"probability\" }"),
        "route[/r].response.a = \"probability\": names neither an output nor a request parameter; allowed are prediction, model, version, warnings, Open, Volume",
    );
}
