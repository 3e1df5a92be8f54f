//! Sparse rows (CSR): the terms of each row, ascending, and their values.

/// `terms` and `values` of row r are those before `ends[r]` and from the end of the row before.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SparseRows {
    pub(crate) ends: Vec<usize>,
    pub(crate) terms: Vec<u32>,
    pub(crate) values: Vec<f32>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SparseRow<'a> {
    pub(crate) terms: &'a [u32],
    pub(crate) values: &'a [f32],
}

impl SparseRows {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn row(&self, row: u32) -> SparseRow<'_> {
        self.row_at(row as usize)
    }

    pub(crate) fn row_at(&self, at: usize) -> SparseRow<'_> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        let end = self.ends[at];
        SparseRow { terms: &self.terms[start..end], values: &self.values[start..end] }
    }

    /// One row, alone.
    pub(crate) fn only(&self, row: usize) -> SparseRows {
        let SparseRow { terms, values } = self.row_at(row);
        SparseRows { ends: vec![terms.len()], terms: terms.to_vec(), values: values.to_vec() }
    }

    /// The rows of all parts, in their order.
    pub(crate) fn concat(parts: Vec<SparseRows>) -> SparseRows {
        let n_values = parts.iter().map(|part| part.terms.len()).sum();
        let mut all = SparseRows {
            ends: Vec::with_capacity(parts.iter().map(SparseRows::len).sum()),
            terms: Vec::with_capacity(n_values),
            values: Vec::with_capacity(n_values),
        };
        for part in parts {
            let start = all.terms.len();
            all.ends.extend(part.ends.iter().map(|end| start + end));
            all.terms.extend(part.terms);
            all.values.extend(part.values);
        }
        all
    }
}

impl<'a> SparseRow<'a> {
    /// Visits the terms of both rows, ascending, with the two values.
    pub(crate) fn for_each_shared(self, other: SparseRow<'a>, mut visit: impl FnMut(u32, f32, f32)) {
        let (mut a, mut b) = (0, 0);
        while a < self.terms.len() && b < other.terms.len() {
            let (left, right) = (self.terms[a], other.terms[b]);
            if left == right {
                visit(left, self.values[a], other.values[b]);
            }
            a += usize::from(left <= right);
            b += usize::from(right <= left);
        }
    }

    /// The cosine of two rows, whose lengths are 1: Σ aₜ·bₜ in f64 over the shared terms, ascending.
    pub(crate) fn score(self, other: SparseRow<'a>) -> f64 {
        let mut score = 0.0;
        self.for_each_shared(other, |_, a, b| score += f64::from(a) * f64::from(b));
        score
    }
}

/// Makes rows one value at a time.
pub(crate) struct SparseRowsBuilder {
    rows: SparseRows,
    scratch: Vec<(u32, f64)>,
}

impl SparseRowsBuilder {
    pub(crate) fn new(n_rows: usize, n_values: usize) -> SparseRowsBuilder {
        let rows = SparseRows {
            ends: Vec::with_capacity(n_rows),
            terms: Vec::with_capacity(n_values),
            values: Vec::with_capacity(n_values),
        };
        SparseRowsBuilder { rows, scratch: Vec::new() }
    }

    /// Adds a value to the open row; terms must ascend.
    pub(crate) fn add(&mut self, term: u32, value: f64) {
        self.scratch.push((term, value));
    }

    /// Ends the row: its values are multiplied by `scale`, and those then below `value_min` left out.
    #[expect(clippy::cast_possible_truncation, reason = "values are between value_min and 1")]
    pub(crate) fn end_row(&mut self, scale: f64, value_min: f64) {
        for (term, value) in self.scratch.drain(..) {
            let value = value * scale;
            if value >= value_min {
                self.rows.terms.push(term);
                self.rows.values.push(value as f32);
            }
        }
        self.rows.ends.push(self.rows.terms.len());
    }

    pub(crate) fn finish(self) -> SparseRows {
        self.rows
    }
}
