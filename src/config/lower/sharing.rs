//! The section `sharing`: the workers that share the cameras.

use ::sharing::WhenTableIsAway;
use kvs_config::raw::{SharingSection, TableAwayPolicy};

use crate::config::content::ConfigContent;
use crate::config::sharing_settings::SharingSettings;

use super::{SettingsBuilder, root_key};

impl SettingsBuilder<'_> {
    /// Returns the settings of sharing.
    pub(super) fn sharing(&mut self, content: &ConfigContent) -> Option<SharingSettings> {
        let sharing = self.raw.sharing.as_ref()?;
        self.check_tables(sharing);
        if let Err(unknown) = content.modified_ms {
            let message = format!(
                "all workers order versions of a configuration by its time of modification; {unknown}"
            );
            self.problem(&root_key("sharing"), message, unknown.remedy());
        }
        let when_away = match sharing.when_table_is_away {
            TableAwayPolicy::Hold => WhenTableIsAway::Hold,
            TableAwayPolicy::Publish => WhenTableIsAway::Publish,
        };
        Some(SharingSettings { table: sharing.table.clone(), pool: sharing.pool.clone(), when_away })
    }

    /// Reports a missing table of positions, and a table that has another purpose already.
    fn check_tables(&mut self, sharing: &SharingSection) {
        let (state, publishers) = (&self.raw.state.ddb_table, &self.raw.publishers.ddb_table);
        if state.is_none() {
            let message = "`sharing` requires the table of positions, which keeps a camera with one worker";
            self.problem(&root_key("sharing"), message, "name a table as `state.ddb_table`");
        }
        let others = [("state.ddb_table", state), ("publishers.ddb_table", publishers)];
        for (key, _) in others.into_iter().filter(|(_, table)| table.as_ref() == Some(&sharing.table)) {
            let message = format!("{:?} is `{key}` already", sharing.table);
            let remedy = "name another table, with partition key `pool` (S) and sort key `member` (S)";
            self.problem(&root_key("sharing").key("table"), message, remedy);
        }
    }
}
