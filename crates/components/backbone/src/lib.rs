//! sensorium-backbone
