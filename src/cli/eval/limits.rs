//! Limits on the figures, for scripts and CI.

use crate::eval::Evaluation;

/// Limits on the figures of an evaluation.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits (exit code 1 if one is not met)")]
pub(super) struct FigureLimits {
    /// Maximum number of visits without a start.
    #[arg(long, value_name = "N")]
    max_missed: Option<usize>,
    /// Maximum number of visits whose first start is late.
    #[arg(long, value_name = "N")]
    max_late: Option<usize>,
    /// Maximum number of visits with more than one start.
    #[arg(long, value_name = "N")]
    max_repeated: Option<usize>,
    /// Maximum number of starts that match no visit.
    #[arg(long, value_name = "N")]
    max_false: Option<usize>,
    /// Minimum purity, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_purity: Option<f64>,
    /// Minimum IDF1, 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_idf1: Option<f64>,
}

/// Parses a share from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "write a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("write a number from 0 to 1".to_owned()) }
}

impl FigureLimits {
    /// Returns a line for each limit that is not met.
    pub(super) fn unmet(&self, evaluation: &Evaluation) -> Vec<String> {
        [self.unmet_maxima(evaluation), self.unmet_minima(evaluation)].concat()
    }

    fn unmet_maxima(&self, evaluation: &Evaluation) -> Vec<String> {
        let maxima = [
            ("missed", "--max-missed", evaluation.missed.len(), self.max_missed),
            ("late", "--max-late", evaluation.late.len(), self.max_late),
            ("repeated", "--max-repeated", evaluation.repeated.len(), self.max_repeated),
            ("false", "--max-false", evaluation.false_starts.len(), self.max_false),
        ];
        let over = maxima.into_iter().filter_map(|(what, flag, is, limit)| {
            let limit = limit.filter(|limit| is > *limit)?;
            Some(format!("{what}: {is}, more than {flag} {limit}"))
        });
        over.collect()
    }

    fn unmet_minima(&self, evaluation: &Evaluation) -> Vec<String> {
        let minima = [
            ("purity", "--min-purity", evaluation.purity, self.min_purity),
            ("IDF1", "--min-idf1", evaluation.idf1, self.min_idf1),
        ];
        let under = minima.into_iter().filter_map(|(what, flag, is, limit)| {
            // A figure that does not exist, such as the purity without records, does not meet its limit.
            let limit = limit.filter(|limit| is.is_none_or(|is| is < *limit))?;
            let is = is.map_or_else(|| "there is none".to_owned(), |is| format!("{is:.3}"));
            Some(format!("{what}: {is}, less than {flag} {limit}"))
        });
        under.collect()
    }
}
