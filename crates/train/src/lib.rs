//! sensorium-train
