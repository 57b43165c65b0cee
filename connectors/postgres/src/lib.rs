//! PostgreSQL and what speaks its protocol: rows become rows of a table, or whatever one SQL statement makes of them.
//!
//! **What counts as confirmed**: the answer to `COMMIT`. A batch is one transaction. When the answer is lost, the
//! connector asks the server what became of the transaction before it sends the rows again ([`doubt`]), so a row that
//! was committed is not written twice. This knowledge is gone when this process ends; rows of a disk queue that are
//! delivered again after that are told apart by `delivery_id_column`, or by `${delivery_id}` with `ON CONFLICT`.
//!
//! **How rows travel**: each value is bound as text and cast by the server to the type that it reported for the
//! parameter, so every type works, with the server's own rules and messages. An `INSERT … VALUES (…)` takes a batch
//! of any size as one array per column: `INSERT … SELECT … FROM unnest($1::text[], …)`. Other statements run once per
//! row in one transaction. COPY was measured and left out: at the batch sizes of a live sink (100 to 1000 rows) the
//! arrays are faster, and they keep `ON CONFLICT` and expressions.
//!
//! **A bad row in a batch**: the batch is rolled back and halved until the row stands alone ([`delivery`]); the others
//! are committed, in their order.

#![forbid(unsafe_code)]

mod arguments;
mod channel;
mod classify;
mod config;
mod connector;
mod definition;
mod delivery;
mod doubt;
mod parameters;
mod plan;
mod pool;
mod scan;
mod session;
mod ssl;
mod statement;
mod table;
mod value;

pub use definition::DEFINITION;
