//! sensorium-data
