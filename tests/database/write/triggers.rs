//! Triggers on the target: what they drop is counted, what they change is kept, and rows that aren't
//! written don't fire them.

use tidegate::engine::route::WriteMode;

use super::{Bench, Path, V, delete, put, replace};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text, b int DEFAULT 7);";

/// A row trigger with this body.
fn trigger(when: &str, body: &str) -> String {
    format!(
        "{TABLE} CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; \
         CREATE TRIGGER t {when} ON target FOR EACH ROW EXECUTE FUNCTION f();"
    )
}

#[tokio::test]
async fn an_insert_that_a_trigger_drops_is_filtered() {
    let ddl = trigger("BEFORE INSERT", "IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; NEW.b = 50; RETURN NEW;");
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        let row = |id| put(&[("id", V::I(id)), ("a", V::T("x"))]);
        let records = [row(1), row(2), row(3).second(), row(4).second(), row(6).second()];
        let told = bench.put(path, &records).await;
        assert_eq!(told, "1 inserted, 1 filtered | 1 inserted, 2 filtered", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,x,50)", "(3,x,50)"], "{path:?}");
        let told = bench.put(path, &[row(1), put(&[("id", V::I(3)), ("a", V::T("y"))]), row(8)]).await;
        assert_eq!(told, "1 updated, 1 unchanged, 1 filtered", "{path:?}: no trigger fires for what exists");
        let whole = [replace(&[("id", V::I(1)), ("a", V::T("n"))]), replace(&[("id", V::I(10))])];
        assert_eq!(bench.put(path, &whole).await, "1 inserted, 1 filtered", "{path:?}");
    }
}

#[tokio::test]
async fn appended_rows_that_a_trigger_drops_are_filtered() {
    let ddl = trigger("BEFORE INSERT", "IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW;");
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &[], WriteMode::Append).await;
        let row = |id| put(&[("id", V::I(id)), ("a", V::T("x"))]);
        let records = [row(1), row(2), row(3).second(), row(4).second(), put(&[("id", V::I(6))]).second()];
        let told = bench.put(path, &records).await;
        assert_eq!(told, "1 inserted, 1 filtered | 1 inserted, 2 filtered", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,x,7)", "(3,x,7)"], "{path:?}");
    }
}

#[tokio::test]
async fn an_update_that_a_trigger_drops_is_filtered() {
    let ddl = trigger("BEFORE UPDATE", "IF NEW.a = 'no' THEN RETURN NULL; END IF; NEW.b = 9; RETURN NEW;");
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        let row = |id, a| put(&[("id", V::I(id)), ("a", V::T(a))]);
        assert_eq!(bench.put(path, &[row(1, "x"), row(2, "x"), row(3, "x")]).await, "3 inserted");
        let told = bench.put(path, &[row(1, "yes"), row(2, "no").second(), row(3, "x")]).await;
        assert_eq!(told, "1 updated, 1 unchanged | 1 filtered", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,yes,9)", "(2,x,7)", "(3,x,7)"], "{path:?}");
    }
}

#[tokio::test]
async fn a_delete_that_a_trigger_drops_is_filtered() {
    let ddl = trigger("BEFORE DELETE", "IF OLD.b > 7 THEN RETURN NULL; END IF; RETURN OLD;");
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'x', 1), (2, 'x', 8), (3, 'x', 1), (4, 'x', 8)").await;
        let told = bench
            .put(
                path,
                &[
                    delete(&[("id", V::I(1))]),
                    delete(&[("id", V::I(2))]),
                    replace(&[("id", V::I(3))]),
                    replace(&[("id", V::I(4))]),
                    delete(&[("id", V::I(5))]),
                ],
            )
            .await;
        assert_eq!(told, "1 inserted, 2 deleted, 2 filtered", "{path:?}");
        assert_eq!(bench.rows().await, ["(2,x,8)", "(3,,7)", "(4,x,8)"], "{path:?}");
    }
}

#[tokio::test]
async fn unchanged_rows_fire_nothing() {
    let ddl = trigger(
        "AFTER INSERT OR UPDATE OR DELETE",
        "INSERT INTO fired VALUES (TG_OP || ' ' || COALESCE(NEW.id, OLD.id)); RETURN NULL;",
    ) + "CREATE TABLE fired (what text);";
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        let row = |id, a| put(&[("id", V::I(id)), ("a", V::T(a))]);
        assert_eq!(bench.put(path, &[row(1, "x"), row(2, "x"), row(3, "x")]).await, "3 inserted");
        bench.run("DELETE FROM fired").await;
        let records =
            [row(1, "x"), row(2, "y"), delete(&[("id", V::I(3))]), delete(&[("id", V::I(4))]), row(5, "n")];
        assert_eq!(
            bench.put(path, &records).await,
            "1 inserted, 1 updated, 1 unchanged, 2 deleted",
            "{path:?}"
        );
        let fired = bench.texts("SELECT what FROM fired ORDER BY 1").await;
        assert_eq!(fired, ["DELETE 3", "INSERT 5", "UPDATE 2"], "{path:?}");
    }
}

#[tokio::test]
async fn triggers_of_partitions_count_too() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text) PARTITION BY RANGE (id); \
               CREATE TABLE low PARTITION OF target FOR VALUES FROM (0) TO (10); \
               CREATE TABLE high PARTITION OF target FOR VALUES FROM (10) TO (20); \
               CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
               CREATE TRIGGER t BEFORE INSERT ON high FOR EACH ROW EXECUTE FUNCTION f()";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let row = |id| put(&[("id", V::I(id)), ("a", V::T("x"))]);
        assert_eq!(bench.put(path, &[row(1), row(11), row(2)]).await, "2 inserted, 1 filtered", "{path:?}");
    }
}

#[tokio::test]
async fn a_trigger_that_rewrites_the_key_is_never_guessed_at() {
    let ddl = "CREATE TABLE target (k text PRIMARY KEY, a text); \
               CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN NEW.k = lower(NEW.k); RETURN NEW; END $$; \
               CREATE TRIGGER t BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f()";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["k"], WriteMode::Upsert).await;
        let row = |k, a| put(&[("k", V::T(k)), ("a", V::T(a))]);
        assert_eq!(bench.put(path, &[row("One", "x")]).await, "1 inserted", "{path:?}");
        let batch = bench.batch(path, &[row("One", "y")]);
        match bench.write(&batch).await {
            tidegate::engine::commit::CommitOutcome::RolledBack(failure) => {
                assert_eq!(failure.sqlstate.as_deref(), Some("23505"), "{path:?}");
            }
            outcome => panic!("{path:?}: {outcome:?}"),
        }
        assert_eq!(bench.rows().await, ["(one,x)"], "{path:?}");
    }
}
