//! The best one-to-one assignment.

/// Returns the largest sum of `gain[row][column]` over pairs in which no row and no column occurs twice.
///
/// Invariant: all rows are as long as the first. The Hungarian algorithm, in rows^2 x columns steps.
/// Source: H. W. Kuhn, "The Hungarian method for the assignment problem", 1955, with potentials (J. Munkres, 1957).
pub(super) fn largest_sum(gain: &[Vec<u64>]) -> u64 {
    let (rows, columns) = (gain.len(), gain.first().map_or(0, Vec::len));
    if rows > columns {
        // The search assigns every row, so there must be at least as many columns.
        return largest_sum(&transposed(gain, columns));
    }
    let mut search = Search::new(gain, columns);
    for row in 1..=rows {
        search.add(row);
    }
    let pairs = (1..=columns).filter(|column| search.row_of[*column] > 0);
    pairs.map(|column| gain[search.row_of[column] - 1][column - 1]).sum()
}

fn transposed(gain: &[Vec<u64>], columns: usize) -> Vec<Vec<u64>> {
    (0..columns).map(|column| gain.iter().map(|row| row[column]).collect()).collect()
}

/// The state of the search. Rows and columns count from 1; column 0 stands for none.
struct Search<'a> {
    // The algorithm minimizes costs, so a gain counts as a negative cost.
    gain: &'a [Vec<u64>],
    of_row: Vec<i64>,
    of_column: Vec<i64>,
    /// The row that is assigned to each column, or 0.
    row_of: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(gain: &'a [Vec<u64>], columns: usize) -> Self {
        let zeros = vec![0; columns + 1];
        Self { gain, of_row: vec![0; gain.len() + 1], of_column: zeros, row_of: vec![0; columns + 1] }
    }

    /// Returns the reduced cost of the pair.
    fn cost(&self, row: usize, column: usize) -> i64 {
        // Far from the limits of i64, so that the sums below cannot overflow.
        let gain = i64::try_from(self.gain[row - 1][column - 1]).unwrap_or(i64::MAX / 4);
        -gain - self.of_row[row] - self.of_column[column]
    }

    /// Assigns a column to the row, along the cheapest alternating path.
    fn add(&mut self, row: usize) {
        let columns = self.row_of.len();
        let (mut least, mut from, mut done) =
            (vec![i64::MAX; columns], vec![0; columns], vec![false; columns]);
        let mut column = 0;
        // The new row starts at column 0 and ends at the first free column.
        self.row_of[0] = row;
        while self.row_of[column] != 0 {
            done[column] = true;
            let here = self.row_of[column];
            for other in (1..columns).filter(|other| !done[*other]) {
                let cost = self.cost(here, other);
                if cost < least[other] {
                    (least[other], from[other]) = (cost, column);
                }
            }
            let open = (1..columns).filter(|other| !done[*other]);
            let Some(next) = open.min_by_key(|other| least[*other]) else { return };
            self.shift(least[next], &done, &mut least);
            column = next;
        }
        // Along the path, each column takes over the row of the column before it.
        while column != 0 {
            self.row_of[column] = self.row_of[from[column]];
            column = from[column];
        }
    }

    fn shift(&mut self, by: i64, done: &[bool], least: &mut [i64]) {
        for column in 0..done.len() {
            if done[column] {
                // Potentials keep the reduced costs of the reached columns at 0 and of all others at 0 or more.
                self.of_row[self.row_of[column]] += by;
                self.of_column[column] -= by;
            } else if column > 0 {
                least[column] -= by;
            }
        }
    }
}
