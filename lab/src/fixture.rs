//! What one test has for itself on the shared servers: a database, a topic name, a pipeline name.

use crate::servers::{self, Shared, with_database};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names that nobody else uses, and a fresh database owned by a role that is no superuser.
#[derive(Debug)]
pub struct Fresh {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// The fresh database, as its owner.
    pub url: String,
    /// The fresh database, as the superuser.
    pub superuser_url: String,
    /// The database's name.
    pub database: String,
    /// `host:port` of PostgreSQL, for a proxy in front of it.
    pub postgres_address: String,
    /// A topic name; the topic isn't created.
    pub topic: String,
    /// A pipeline name, and so a consumer group.
    pub pipeline: String,
    shared: &'static Shared,
}

impl Fresh {
    /// Starts the shared servers if need be and creates the database.
    ///
    /// # Panics
    /// When there are no servers, or the database can't be created.
    pub fn new(name: &str) -> Fresh {
        Self::made(name, None)
    }

    /// The same with a database of this encoding, such as `LATIN1`, where locales are C.
    ///
    /// # Panics
    /// When there are no servers, or the database can't be created.
    pub fn encoded(name: &str, encoding: &str) -> Fresh {
        Self::made(name, Some(encoding))
    }

    fn made(name: &str, encoding: Option<&str>) -> Fresh {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let shared = servers::shared();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        // A given server outlives this process, so the number alone would come again.
        let unique = format!("{}_{:x}_{number}", clean.to_ascii_lowercase(), std::process::id());
        let database: String = format!("t{number}_{unique}").chars().take(60).collect();
        let server = shared.postgres();
        let created = match encoding {
            None => server.create_database(&database),
            Some(encoding) => server.create_database_in(&database, encoding),
        };
        created.expect("a fresh database on the shared PostgreSQL");
        Fresh {
            bootstrap: shared.bootstrap().to_owned(),
            url: shared.postgres().database_url(&database),
            superuser_url: shared.postgres().superuser_database_url(&database),
            postgres_address: shared.postgres_address().to_owned(),
            topic: format!("topic_{unique}"),
            pipeline: format!("pipeline_{unique}"),
            database,
            shared,
        }
    }

    /// A second database of this test, as its owner.
    ///
    /// # Panics
    /// When it can't be created.
    pub fn another_database(&self, suffix: &str) -> String {
        let name = format!("{}_{suffix}", self.database.chars().take(50).collect::<String>());
        self.shared.postgres().create_database(&name).expect("another database on the shared PostgreSQL");
        with_database(&self.url, &name)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // What a failed test wrote is kept for as long as its server lives.
        if !std::thread::panicking() {
            let _ = self.shared.postgres().drop_database(&self.database);
        }
    }
}
