//! What users and machines meet: the HTTP endpoints and the command line.

mod http;
