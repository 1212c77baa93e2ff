//! What std lacks: properties and option tables, logs, disk, listeners, metrics.
