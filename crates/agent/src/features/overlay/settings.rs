use std::fs;
use std::io;
use std::path::Path;

use podway_plan::overlay::{NetConf, NetConfError, OverlayMode, OverlaySettings, mac_prefix_of};

use crate::config;

/// Section `overlay`, with `net-conf.json` where it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverlayConfig {
    /// What packets are sent by.
    pub(crate) main: OverlaySettings,
    /// What they are taken by as well.
    pub(crate) also: Vec<OverlaySettings>,
}

/// Why the section cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("read {path} (overlay.netConf)")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path} (overlay.netConf)")]
    NetConf {
        path: String,
        #[source]
        source: NetConfError,
    },
    #[error("overlay.also: {0} is what {1} says already")]
    Twice(&'static str, String),
}

impl OverlayConfig {
    /// Reads what the section says, which was checked, and the file that it names.
    pub(crate) fn read(config: &config::Overlay) -> Result<Self, SettingsError> {
        let main = match &config.net_conf {
            None => of_section(config),
            Some(path) => of_file(path)?,
        };
        let modes = config.also.iter();
        let modes = modes.filter_map(|name| OverlayMode::of_name(name));
        let mut also = Vec::new();
        for mode in modes {
            if mode == main.mode {
                let path = config.net_conf.as_deref().unwrap_or(Path::new("overlay"));
                let path = path.display().to_string();
                return Err(SettingsError::Twice(mode.name(), path));
            }
            also.push(OverlaySettings {
                mode,
                // One port cannot be several backends'.
                port: main.port.filter(|_| !main.mode.has_port()),
                direct_routing: false,
                incoming_only: true,
                ..main.clone()
            });
        }
        Ok(Self { main, also })
    }

    /// Every mode, the one that packets are sent by first.
    pub(crate) fn modes(&self) -> impl Iterator<Item = OverlayMode> {
        let all = std::iter::once(&self.main).chain(&self.also);
        all.map(|settings| settings.mode)
    }
}

fn of_section(config: &config::Overlay) -> OverlaySettings {
    let mode = OverlayMode::of_name(&config.backend).unwrap_or(OverlayMode::Vxlan);
    OverlaySettings {
        vni: config.vni,
        port: config.port,
        mtu: config.mtu,
        mac_prefix: config.mac_prefix.as_deref().and_then(mac_prefix_of),
        direct_routing: config.direct_routing,
        networks: config.networks.iter().map(ipnet::IpNet::trunc).collect(),
        ..OverlaySettings::new(mode)
    }
}

fn of_file(path: &Path) -> Result<OverlaySettings, SettingsError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: name.clone(),
        source,
    })?;
    let conf = NetConf::parse(&text).map_err(|source| SettingsError::NetConf {
        path: name.clone(),
        source,
    })?;
    for (key, instead) in &conf.ignored {
        tracing::info!(
            file = name,
            key,
            instead,
            "key of flannel's configuration not followed"
        );
    }
    Ok(conf.settings)
}
