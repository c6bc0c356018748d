//! sensorium-flow
