//! sensorium-nn
