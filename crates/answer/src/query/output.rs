//! Rows of an answer as a table, as csv or as JSON, written as they come.

use std::io::{self, Write};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{JsonFormat, Writer, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

/// A column of the table is as wide as its widest cell among so many rows; what is wider further down stands out.
const MEASURED_ROWS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// Aligned columns, null as nothing
    #[default]
    Table,
    /// RFC 4180 with a header: null is an empty field, an empty text a quoted one
    Csv,
    /// An array with one object per row, each on a line of its own
    Json,
}

/// Writes blocks of rows; `finish` ends the document.
pub enum RowWriter<W: Write> {
    Table { out: W, schema: SchemaRef, widths: Option<Vec<usize>> },
    Csv { out: W, schema: SchemaRef, begun: bool },
    Json(Box<Writer<W, Lines>>),
}

impl<W: Write> RowWriter<W> {
    pub fn new(format: OutputFormat, schema: SchemaRef, out: W) -> io::Result<Self> {
        match format {
            OutputFormat::Table => Ok(Self::Table { out, schema, widths: None }),
            OutputFormat::Csv => Ok(Self::Csv { out, schema, begun: false }),
            OutputFormat::Json => {
                let mut names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
                names.sort_unstable();
                if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                    let message = format!("two columns are named `{}`: name one of them with `as`", pair[0]);
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                Ok(Self::Json(Box::new(WriterBuilder::new().with_explicit_nulls(true).build(out))))
            }
        }
    }

    pub fn write(&mut self, block: &RecordBatch) -> io::Result<()> {
        match self {
            Self::Table { out, schema, .. } if is_explained(schema) => write_plans(out, block),
            Self::Table { out, schema, widths } => write_table(out, schema, widths, Some(block)),
            Self::Csv { out, schema, begun } => {
                if !std::mem::replace(begun, true) {
                    write_csv_header(out, schema)?;
                }
                write_csv(out, block)
            }
            Self::Json(writer) => writer.write(block).map_err(into_io),
        }
    }

    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Table { mut out, schema, mut widths } => {
                if widths.is_none() && !is_explained(&schema) {
                    write_table(&mut out, &schema, &mut widths, None)?;
                }
                out.flush()
            }
            Self::Csv { mut out, schema, begun } => {
                if !begun {
                    write_csv_header(&mut out, &schema)?;
                }
                out.flush()
            }
            Self::Json(mut writer) => {
                writer.finish().map_err(into_io)?;
                writer.get_mut().flush()
            }
        }
    }
}

/// An array, one row to a line: a program reads it whole, a person line by line.
#[derive(Debug, Default)]
pub struct Lines;

impl JsonFormat for Lines {
    fn start_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"[")?)
    }

    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        Ok(writer.write_all(if is_first_row { b"\n".as_slice() } else { b",\n" })?)
    }

    fn end_stream<W: Write>(&self, writer: &mut W) -> Result<(), ArrowError> {
        Ok(writer.write_all(b"\n]\n")?)
    }
}

/// A broken pipe stays one.
fn into_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}

fn formatters<'a>(block: &'a RecordBatch, options: &'a FormatOptions<'a>) -> io::Result<Vec<ArrayFormatter<'a>>> {
    let formatters = block.columns().iter().map(|column| ArrayFormatter::try_new(column, options));
    formatters.collect::<Result<_, _>>().map_err(into_io)
}

fn write_table(
    out: &mut impl Write,
    schema: &SchemaRef,
    widths: &mut Option<Vec<usize>>,
    block: Option<&RecordBatch>,
) -> io::Result<()> {
    let options = FormatOptions::default();
    let formatters = block.map_or(Ok(Vec::new()), |block| formatters(block, &options))?;
    let rows = block.map_or(0, RecordBatch::num_rows);
    let cells = |row: usize| -> io::Result<Vec<String>> {
        formatters.iter().map(|column| Ok(on_one_line(&column.value(row).try_to_string().map_err(into_io)?))).collect()
    };
    if widths.is_none() {
        let names: Vec<String> = schema.fields().iter().map(|field| on_one_line(field.name())).collect();
        let mut measured: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
        for row in 0..rows.min(MEASURED_ROWS) {
            for (width, cell) in measured.iter_mut().zip(cells(row)?) {
                *width = (*width).max(cell.chars().count());
            }
        }
        out.write_all(line(schema, &measured, &names).as_bytes())?;
        *widths = Some(measured);
    }
    let widths = widths.as_deref().unwrap_or_default();
    for row in 0..rows {
        out.write_all(line(schema, widths, &cells(row)?).as_bytes())?;
    }
    Ok(())
}

/// What `explain` answers: trees of many lines, which no table holds.
fn is_explained(schema: &SchemaRef) -> bool {
    schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"])
}

fn write_plans(out: &mut impl Write, block: &RecordBatch) -> io::Result<()> {
    let options = FormatOptions::default();
    let columns = formatters(block, &options)?;
    for row in 0..block.num_rows() {
        for (column, indent) in columns.iter().zip(["", "  "]) {
            let text = column.value(row).try_to_string().map_err(into_io)?;
            for line in text.lines() {
                out.write_all(format!("{indent}{}\n", on_one_line(line)).as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Numbers stand to the right, the rest to the left.
fn line(schema: &SchemaRef, widths: &[usize], cells: &[String]) -> String {
    let fields = schema.fields().iter().zip(widths).zip(cells);
    let padded = fields.map(|((field, width), cell)| match field.data_type() {
        kind if kind.is_numeric() => format!("{cell:>width$}"),
        _ => format!("{cell:<width$}"),
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
}

/// A row stays on its line, and nothing from the data reaches the terminal as a command to it.
fn on_one_line(cell: &str) -> String {
    if !cell.contains(char::is_control) {
        return cell.to_owned();
    }
    cell.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn write_csv_header(out: &mut impl Write, schema: &SchemaRef) -> io::Result<()> {
    let names = schema.fields().iter().map(|field| quoted(field.name())).collect::<Vec<_>>();
    out.write_all((names.join(",") + "\n").as_bytes())
}

fn write_csv(out: &mut impl Write, block: &RecordBatch) -> io::Result<()> {
    let options = FormatOptions::default();
    let formatters = formatters(block, &options)?;
    let (mut text, mut cell) = (String::new(), String::new());
    for row in 0..block.num_rows() {
        text.clear();
        for (index, (column, formatter)) in block.columns().iter().zip(&formatters).enumerate() {
            if index > 0 {
                text.push(',');
            }
            if is_null(column, row) {
                continue;
            }
            cell.clear();
            formatter.value(row).write(&mut cell).map_err(into_io)?;
            text.push_str(&quoted(&cell));
        }
        // A line of nothing would be no row to most readers.
        if text.is_empty() {
            text.push_str("\"\"");
        }
        text.push('\n');
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn is_null(column: &datafusion::arrow::array::ArrayRef, row: usize) -> bool {
    use datafusion::arrow::array::Array;
    column.is_null(row) || *column.data_type() == DataType::Null
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
