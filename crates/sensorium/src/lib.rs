//! sensorium
