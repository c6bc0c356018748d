//! sensorium-testkit
