mod daemons;
mod jobs;
mod nodes;
mod rollouts;
mod world;
