//! sensorium-eval
